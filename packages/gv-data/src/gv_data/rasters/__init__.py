"""Rasters read, written, compared and tiled in bounded memory."""
