"""From files as people have them to rows of a catalog."""
