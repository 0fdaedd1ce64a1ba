"""Catalogs to STAC, and STAC to catalogs."""
