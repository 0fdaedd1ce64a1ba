"""What silently ruins maps, as rules that name files and the way out."""
