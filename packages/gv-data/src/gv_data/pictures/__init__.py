"""What a view holds, to look at: contact sheets, maps of footprints, a summary."""
