"""What stands and lies around houses: paved places, walls and hedges, trees, cars.

Paved places have the shape and the colour of roofs but no height: they are there so that a
rectangle alone is not yet a building.
"""

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Float
from numpy import ndarray as Array

from gv_data.synthetic.buildings import COVERINGS
from gv_data.synthetic.layers import keep
from gv_data.synthetic.setting import Setting
from gv_data.synthetic.streets import polygons

_TREES_PER_HA = {"suburb": 75, "terrace": 24, "informal": 18, "works": 9, "green": 110}
_CAR_COLOURS = (
    (0.62, 0.62, 0.62),
    (0.60, 0.60, 0.58),
    (0.40, 0.41, 0.42),
    (0.06, 0.06, 0.07),
    (0.09, 0.09, 0.10),
    (0.30, 0.06, 0.05),
    (0.08, 0.13, 0.28),
    (0.20, 0.20, 0.21),
)
_GROUND = {
    "suburb": (0.75, 0.10, 0.15),
    "terrace": (0.35, 0.25, 0.40),
    "informal": (0.08, 0.86, 0.06),
    "works": (0.15, 0.30, 0.55),
    "green": (0.85, 0.15, 0.0),
}
_FENCES = {
    "suburb": (0.35, 0.35, 0.30),
    "terrace": (0.4, 0.15, 0.45),
    "informal": (0.9, 0.02, 0.08),
    "works": (0.5, 0.1, 0.4),
    "green": (1.0, 0.0, 0.0),
}


def tend_parcels(rng: np.random.Generator, parcels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Add ``ground`` (grass, soil, paving), its ``tone`` and ``fence`` (none, hedge, wall)."""
    ground = np.full(len(parcels), "grass", dtype=object)
    fence = np.full(len(parcels), "none", dtype=object)
    for kind in _GROUND:
        chosen = (parcels["district"] == kind).to_numpy()
        n = int(chosen.sum())
        ground[chosen] = rng.choice(["grass", "soil", "paving"], n, p=_GROUND[kind])
        fence[chosen] = rng.choice(["none", "hedge", "wall"], n, p=_FENCES[kind])
    return parcels.assign(ground=ground, fence=fence, tone=rng.normal(1, 0.1, len(parcels)))


def lay_slabs(
    rng: np.random.Generator,
    parcels: gpd.GeoDataFrame,
    buildings: gpd.GeoDataFrame,
    setting: Setting,
) -> gpd.GeoDataFrame:
    """Flat rectangles beside houses: drives, courts, foundations, plots.

    Returns:
        ``red`` ``green`` ``blue`` ``nir`` and polygons that touch no building.
    """
    share = {"suburb": 0.8, "terrace": 0.45, "informal": 0.1, "works": 1.0, "green": 0.9}
    weight = parcels["district"].map(share).to_numpy(dtype=float)
    parcel = keep(parcels, rng.random(len(parcels)) < weight)
    n = len(parcel)
    x0, x1, y0, y1 = (parcel[name].to_numpy() for name in ("x0", "x1", "y0", "y1"))
    width = np.minimum(rng.uniform(2.5, 9, n), 0.8 * (x1 - x0))
    depth = np.minimum(rng.uniform(2.5, 9, n), 0.8 * (y1 - y0))
    x = x0 + rng.random(n) * (x1 - x0 - width)
    y = y0 + rng.random(n) * (y1 - y0 - depth)
    corners = np.stack(
        [x + 1j * y, x + width + 1j * y, x + width + 1j * (y + depth), x + 1j * (y + depth)], axis=1
    )
    outlines = polygons(setting.ground(corners))
    free = _distance(outlines, buildings) > 0
    fixed = [colour for _, colour in COVERINGS if not isinstance(colour, str)]
    palette = np.array([setting.soil, setting.paving, setting.paving, setting.asphalt, *fixed])
    colour = palette[rng.integers(len(palette), size=n)] * rng.normal(1, 0.12, (n, 1))
    table = pd.DataFrame(colour.clip(0.03, 0.9), columns=["red", "green", "blue", "nir"])
    return keep(gpd.GeoDataFrame(table, geometry=outlines, crs=setting.crs), free)


def plant_trees(
    rng: np.random.Generator,
    parcels: gpd.GeoDataFrame,
    buildings: gpd.GeoDataFrame,
    roads: gpd.GeoDataFrame,
    setting: Setting,
) -> gpd.GeoDataFrame:
    """Plant trees where neither roofs nor carriageways are.

    Returns:
        ``radius_m`` and ``height_m`` of the crown, ``tone`` and ``dry`` (0 green to 1 bare), and
        points. Crowns reach at most 0.3 m over the nearest roof's edge.
    """
    density = parcels["district"].map(_TREES_PER_HA).to_numpy(dtype=float)
    area_ha = shapely.area(parcels.geometry.to_numpy()) / 10_000
    count = rng.poisson(density * area_ha * rng.uniform(0.5, 1.5))
    parcel = parcels.take(np.repeat(np.arange(len(parcels)), count))
    n = len(parcel)
    x = parcel["x0"].to_numpy() + rng.random(n) * (parcel["x1"] - parcel["x0"]).to_numpy()
    y = parcel["y0"].to_numpy() + rng.random(n) * (parcel["y1"] - parcel["y0"]).to_numpy()
    place = setting.ground(x + 1j * y)

    streets = keep(roads, roads["surface"] == "asphalt")
    kerb, street, _, side = _beside(rng, streets, every_m=11.0, share=0.35)
    kerb = kerb + side * (streets["width_m"].to_numpy()[street] / 2 + 0.9)
    place = np.concatenate([place, kerb])
    points = np.asarray(shapely.points(place.real, place.imag))
    radius = np.exp(rng.normal(0.72, 0.42, len(points))).clip(0.8, 5.5)
    radius = np.minimum(radius, _distance(points, buildings) + 0.3)
    near = roads.sindex.nearest(points, return_all=False, return_distance=True)
    clear = near[1] > roads["width_m"].to_numpy()[near[0][1]] / 2 + 0.3
    kept = clear & (radius >= 0.8)
    radius = radius[kept]
    table = pd.DataFrame(
        {
            "radius_m": radius,
            "height_m": radius * rng.uniform(1.4, 2.6, len(radius)) + 1.0,
            "tone": rng.normal(1, 0.18, len(radius)).clip(0.55, 1.6),
            "dry": (rng.beta(1, 4, len(radius)) * (1.3 - setting.greenness)).clip(0, 1),
        }
    )
    return gpd.GeoDataFrame(table, geometry=points[kept], crs=setting.crs)


def park_cars(
    rng: np.random.Generator,
    roads: gpd.GeoDataFrame,
    buildings: gpd.GeoDataFrame,
    setting: Setting,
) -> gpd.GeoDataFrame:
    """Put cars and a few vans on asphalt streets, in line with them.

    Returns:
        ``height_m``, ``heading_deg`` (counter-clockwise from east), ``red`` ``green`` ``blue``
        ``nir`` and rectangles.
    """
    streets = keep(roads, (roads["surface"] == "asphalt") & (roads.length > 8)).reset_index(
        drop=True
    )
    place, street, heading, side = _beside(rng, streets, every_m=7.0, share=0.4)
    n = len(place)
    place = place + side * (streets["width_m"].to_numpy()[street] / 2 - rng.uniform(1.0, 1.5, n))
    van = rng.random(n) < 0.08
    length, width = np.where(van, 6.2, rng.uniform(3.8, 4.8, n)), np.where(van, 2.2, 1.8)
    corners = np.array([[-0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j, -0.5 + 0.5j]])
    shape = corners.real * length[:, None] + 1j * corners.imag * width[:, None]
    outlines = polygons(place[:, None] + heading[:, None] * shape)
    free = _distance(outlines, buildings) > 0.2
    colour = np.array(_CAR_COLOURS)[rng.integers(len(_CAR_COLOURS), size=n)]
    colour = np.concatenate([colour, colour[:, :1]], axis=1) * rng.uniform(0.8, 1.2, (n, 1))
    table = pd.DataFrame(colour, columns=["red", "green", "blue", "nir"]).assign(
        height_m=np.where(van, 2.4, 1.5), heading_deg=np.rad2deg(np.angle(heading))
    )
    return keep(gpd.GeoDataFrame(table, geometry=outlines, crs=setting.crs), free)


def _beside(
    rng: np.random.Generator, roads: gpd.GeoDataFrame, *, every_m: float, share: float
) -> tuple[Array, Array, Array, Array]:
    """Points along roads.

    Returns:
        The points (easting + i northing), each one's row in ``roads``, the road's direction there
        and the direction to a random side of the road (unit complex).
    """
    lines = roads.geometry.to_numpy()
    slots = np.floor(shapely.length(lines) / every_m).astype(int)
    row = np.repeat(np.arange(len(lines)), slots)
    order = np.arange(len(row)) - np.repeat(np.cumsum(slots) - slots, slots)
    used = rng.random(len(row)) < share
    row, order = row[used], order[used]
    at = (order + 0.5 + rng.uniform(-0.12, 0.12, len(row))) * every_m
    here = shapely.line_interpolate_point(lines[row], at)
    ahead = shapely.line_interpolate_point(lines[row], at + 0.5)
    here, ahead = (shapely.get_coordinates(points) @ [1, 1j] for points in (here, ahead))
    heading = (ahead - here) / np.maximum(np.abs(ahead - here), 1e-9)
    side = heading * np.where(rng.random(len(row)) < 0.5, 1j, -1j)
    return here, row, heading, side


def _distance(shapes: Array, buildings: gpd.GeoDataFrame) -> Float[Array, " n"]:
    """Metres from each shape to the nearest building; infinite without buildings."""
    if not len(buildings) or not len(shapes):
        return np.full(len(shapes), np.inf)
    (_, _), distance = buildings.sindex.nearest(shapes, return_all=False, return_distance=True)
    return distance
