"""gv-data."""
