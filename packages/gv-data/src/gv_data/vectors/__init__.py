"""Vector files, polygons and areas on the ground."""
