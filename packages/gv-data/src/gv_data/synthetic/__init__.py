"""Georeferenced towns made from a seed, with exact truth: nothing to download, no licence.

The way of a town: ``setting`` draws what it shares (ground, light, season), ``streets``,
``buildings`` and ``yards`` draw what stands on it as tables, ``relief`` turns the tables into
heights and shadows, ``render`` into reflectance, ``sensor`` into an image. ``town`` runs them in
order; ``mosaic`` makes scenes larger than memory.
"""
