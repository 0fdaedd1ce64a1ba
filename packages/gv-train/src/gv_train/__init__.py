"""gv-train."""
