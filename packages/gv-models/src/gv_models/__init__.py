"""gv-models."""
