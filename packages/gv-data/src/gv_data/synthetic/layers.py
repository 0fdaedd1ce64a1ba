"""The tables that a picture is painted from."""

from dataclasses import dataclass, field

import geopandas as gpd
import numpy as np
import pandas as pd
from jaxtyping import Bool
from numpy import ndarray as Array


@dataclass(frozen=True)
class Layers:
    """What stands and lies on the ground, in the town's CRS.

    Tables reach over the border of the image, except roads and nodes. Change a table and paint
    again (``town.photograph``) for another date: what was not changed looks as before.
    """

    roads: gpd.GeoDataFrame = field(repr=False)
    """``id``, ``u``, ``v``, ``width_m``, ``surface``; centre lines from node u to node v."""
    nodes: gpd.GeoDataFrame = field(repr=False)
    """Crossings, ends, and where streets leave the image: ``id``, points."""
    parcels: gpd.GeoDataFrame = field(repr=False)
    """``id``, ``district``, ``ground``, ``fence``; polygons without gaps inside a block."""
    buildings: gpd.GeoDataFrame = field(repr=False)
    """One row a house: see ``build_houses``."""
    slabs: gpd.GeoDataFrame = field(repr=False)
    """Flat paved places with the colours of roofs."""
    trees: gpd.GeoDataFrame = field(repr=False)
    """``radius_m``, ``height_m``; points."""
    cars: gpd.GeoDataFrame = field(repr=False)
    """``height_m``, ``heading_deg``; rectangles."""


def keep(table: gpd.GeoDataFrame, chosen: Bool[Array, " n"] | pd.Series) -> gpd.GeoDataFrame:
    """The chosen rows of a table, with their index."""
    return table.take(np.flatnonzero(chosen))
