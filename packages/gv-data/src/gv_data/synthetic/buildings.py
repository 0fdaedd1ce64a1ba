"""Houses on parcels: outline, form of the roof, covering and colour.

A house is placed on its parcel in metres along (a) and away from (d) the street, for all parcels of
a kind at once. Detached houses have exact right angles; houses in rows and in informal quarters
share walls with the neighbour in the row, on the border of the parcels. Some coverings have the
very colour of the town's soil, asphalt, paving or dry grass, so colour alone does not find them.
"""

from dataclasses import dataclass
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Complex, Float
from numpy import ndarray as Array

from gv_data.synthetic.layers import keep
from gv_data.synthetic.setting import Reflectance, Setting
from gv_data.synthetic.streets import District, polygons

Roof = Literal["gable", "hip", "shed", "flat"]
"""Two slopes, four slopes, one slope, none."""

STRAW: Reflectance = (0.36, 0.31, 0.19, 0.42)
"""Dry grass, on the ground and on roofs."""

COVERINGS: tuple[tuple[str, Reflectance | Literal["soil", "asphalt", "paving"]], ...] = (
    ("tile", (0.42, 0.19, 0.12, 0.44)),
    ("tile", (0.32, 0.20, 0.15, 0.37)),
    ("tile", "soil"),
    ("metal", (0.50, 0.51, 0.52, 0.54)),
    ("metal", (0.19, 0.29, 0.42, 0.38)),
    ("metal", (0.19, 0.31, 0.23, 0.35)),
    ("metal", (0.35, 0.22, 0.15, 0.35)),
    ("metal", "soil"),
    ("concrete", "paving"),
    ("concrete", (0.48, 0.46, 0.42, 0.50)),
    ("shingle", "asphalt"),
    ("shingle", (0.25, 0.24, 0.24, 0.28)),
    ("thatch", STRAW),
)
"""Materials of roofs with their colour, or the ground whose colour they have."""

_FREQUENCY: dict[District, tuple[float, ...]] = {
    "suburb": (5, 3, 4, 1, 0.5, 0.5, 0.5, 0, 1, 0.5, 4, 3, 0),
    "terrace": (4, 3, 3, 1, 0.5, 0.5, 1, 0, 4, 2, 2, 2, 0),
    "informal": (0.5, 0.5, 0.5, 5, 1, 0.7, 4, 4, 2, 0.5, 0.5, 1, 1.5),
    "works": (0, 0, 0, 4, 1.5, 1, 1, 0, 4, 2, 2, 1, 0),
    "green": (1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 2),
}
_FORMS: dict[District, dict[Roof, float]] = {
    "suburb": {"gable": 0.68, "hip": 0.26, "shed": 0.02, "flat": 0.04},
    "terrace": {"gable": 0.62, "hip": 0.04, "shed": 0.06, "flat": 0.28},
    "informal": {"gable": 0.42, "hip": 0.03, "shed": 0.42, "flat": 0.13},
    "works": {"gable": 0.40, "hip": 0.0, "shed": 0.05, "flat": 0.55},
    "green": {"gable": 0.6, "hip": 0.2, "shed": 0.2, "flat": 0.0},
}
_EAVES_M: dict[District, tuple[float, float]] = {
    "suburb": (2.8, 5.6),
    "terrace": (3.2, 8.5),
    "informal": (2.2, 3.4),
    "works": (5.0, 9.5),
    "green": (2.4, 3.2),
}
_PITCH_DEG: dict[Roof, tuple[float, float]] = {
    "gable": (20, 38),
    "hip": (18, 32),
    "shed": (5, 12),
    "flat": (0, 0),
}
_LOW_PITCH_DEG = (9, 20)  # sheet metal on light frames
_MIN_SIDE_M = 2.4


@dataclass(frozen=True)
class _Places:
    """Rectangles on parcels, in metres along the street and away from it."""

    parcel: Array
    a0: Float[Array, " n"]
    a1: Float[Array, " n"]
    d0: Float[Array, " n"]
    d1: Float[Array, " n"]
    wing_m: Float[Array, " n"]
    """How far a wing reaches back; 0 is no wing."""
    crooked_m: Float[Array, " n"]
    """How far corners lie inside the rectangle, unless they are on the parcel's side."""
    shares_walls: bool


def build_houses(
    rng: np.random.Generator, parcels: gpd.GeoDataFrame, setting: Setting
) -> gpd.GeoDataFrame:
    """Put houses on parcels.

    Args:
        rng: Source of all choices.
        parcels: From ``cut_parcels``.
        setting: The town's ground and fashion.

    Returns:
        One row a house, outlines not clipped to the image: ``id``, ``parcel``, ``district``,
        ``roof`` (see `Roof`), ``material``, ``red`` ``green`` ``blue`` ``nir`` (reflectance),
        ``height_m`` (highest point) and what gives the roof its form: ``x_m``, ``y_m`` (middle of
        the main part), ``ridge_deg`` (counter-clockwise from east), ``length_m`` along and
        ``width_m`` across the ridge, ``eave_m``, ``pitch_deg``, and of a wing ``wing_side`` (left
        +1, right -1 of the ridge, 0 none), ``wing_at_m`` along the ridge and ``wing_width_m``.
    """
    kinds = parcels["district"].to_numpy()
    parts = []
    for kind in _FREQUENCY:
        chosen = keep(parcels, kinds == kind)
        for places in _places(rng, kind, chosen, setting.house_scale):
            houses = _raise(rng, places, parcels, setting)
            parts.append(_cover(rng, houses.assign(district=kind), kind, setting))
    houses = pd.concat(parts, ignore_index=True)
    houses = gpd.GeoDataFrame(houses, geometry="geometry", crs=setting.crs)
    houses = keep(houses, houses.intersects(setting.footprint)).reset_index(drop=True)
    houses.insert(0, "id", np.arange(len(houses)))
    return houses


def _places(
    rng: np.random.Generator, kind: District, parcels: gpd.GeoDataFrame, scale: float
) -> list[_Places]:
    """Where houses of a district stand on their parcels, main houses first."""
    if kind == "green":
        return []
    vacant = {"suburb": 0.07, "terrace": 0.05, "informal": 0.13, "works": 0.1}[kind]
    parcels = keep(parcels, rng.random(len(parcels)) >= vacant)
    index = parcels.index.to_numpy()
    frontage, depth = _sides(parcels)
    n = len(parcels)
    none = np.zeros(n)
    match kind:
        case "suburb":
            length = np.minimum(frontage - 2.4, rng.uniform(8.5, 15.5, n) * scale)
            width = np.minimum(depth * 0.5, rng.uniform(7, 10.5, n) * scale)
            a0 = 1.2 + rng.random(n) * (frontage - 2.4 - length)
            d0 = np.minimum(rng.uniform(2.5, 6, n), depth - width - 1.5)
            room = depth - d0 - width - 1.5
            wing = np.where(rng.random(n) < 0.4, np.minimum(rng.uniform(2.5, 5.5, n), room), 0)
            wing[(wing < 1.5) | (length < width)] = 0
            house = _Places(index, a0, a0 + length, d0, d0 + width, wing, none, False)
            return [house, _hut(rng, index, frontage, depth, d0 + width + wing, 0.35)]
        case "terrace":
            setback = np.where(parcels["front"] > 0, rng.uniform(0.3, 3), rng.uniform(0.3, 3))
            d0 = np.minimum(setback + (rng.random(n) < 0.15) * rng.uniform(0, 1.5, n), 4)
            d1 = d0 + np.minimum(depth * 0.68, rng.uniform(8, 12.5, n) * scale)
            a0 = np.where(rng.random(n) < 0.08, 1.2, 0.0)
            house = _Places(index, a0, frontage, d0, d1, none, none, True)
            return [house, _hut(rng, index, frontage, depth, d1, 0.4)]
        case "informal":
            loose = rng.random((3, n)) > np.array([[0.74], [0.74], [0.5]])
            gaps = rng.uniform(0.3, 1.5, (3, n)) * loose
            gaps[2] += 0.05  # rows are cut apart differently: backs do not share walls
            d0 = rng.uniform(0.1, 1.0, n)
            crooked = rng.uniform(0, 0.7, n)
            return [
                _Places(
                    index, gaps[0], frontage - gaps[1], d0, depth - gaps[2], none, crooked, True
                )
            ]
        case "works":
            length, width = rng.uniform(0.45, 0.85, n), rng.uniform(0.4, 0.75, n)
            a0 = frontage * (1 - length) * rng.uniform(0.2, 0.8, n)
            d0 = depth * (1 - width) * rng.uniform(0.2, 0.8, n)
            return [
                _Places(
                    index, a0, a0 + frontage * length, d0, d0 + depth * width, none, none, False
                )
            ]


def _hut(
    rng: np.random.Generator,
    index: Array,
    frontage: Float[Array, " n"],
    depth: Float[Array, " n"],
    behind: Float[Array, " n"],
    share: float,
) -> _Places:
    """Garages and sheds in the back corner of some parcels, where there is room."""
    length, width = rng.uniform(2.6, 5.5, len(index)), rng.uniform(2.5, 4, len(index))
    some = (rng.random(len(index)) < share) & (depth - behind - 1.6 > width)
    some &= frontage - 1.2 > length
    a0 = np.where(rng.random(len(index)) < 0.5, 0.6, frontage - length - 0.6)[some]
    d1 = depth[some] - 0.6
    none = np.zeros(int(some.sum()))
    return _Places(index[some], a0, a0 + length[some], d1 - width[some], d1, none, none, False)


def _raise(
    rng: np.random.Generator, places: _Places, parcels: gpd.GeoDataFrame, setting: Setting
) -> pd.DataFrame:
    """Outlines on the ground, and the axes of the roof."""
    parcel = parcels.take(places.parcel)
    a0, a1, d0, d1 = places.a0, places.a1, places.d0, places.d1
    n = len(a0)
    big = np.minimum(a1 - a0, d1 - d0) >= _MIN_SIDE_M
    frontage, depth = _sides(parcel)
    inset = rng.random((8, n)) * places.crooked_m
    loose = np.stack([a0 > 0, a1 < frontage, a1 < frontage, a0 > 0])
    along = np.stack([a0, a1, a1, a0]) + inset[:4] * loose * np.array([[1], [-1], [-1], [1]])
    away = np.stack([d0, d0, d1, d1]) + inset[4:] * np.array([[1], [1], [-1], [-1]])
    middle = _on_plan(parcel, (a0 + a1) / 2, (d0 + d1) / 2)
    turn, centre = setting.turn(middle), setting.ground(middle)

    zero = np.zeros(n)
    near_left, near_right = (setting.ground(_on_plan(parcel, a, zero)) for a in (zero, frontage))
    far_left, far_right = (setting.ground(_on_plan(parcel, a, depth)) for a in (zero, frontage))

    def lay(a: Float[Array, "k n"], d: Float[Array, "k n"]) -> Complex[Array, "n k"]:
        if not places.shares_walls:
            return (centre + turn * (_on_plan(parcel, a, d) - middle)).T
        u, v = a / frontage, d / depth  # on straight borders, as the parcel's own corners are
        return (
            (1 - v) * ((1 - u) * near_left + u * near_right)
            + v * ((1 - u) * far_left + u * far_right)
        ).T

    outline = polygons(lay(along, away))
    side = np.where(rng.random(n) < 0.5, 1, -1)  # end of the house that has the wing
    wing_width = np.minimum(a1 - a0, d1 - d0) * rng.uniform(0.6, 0.95, n)
    end = np.where(side > 0, a1, a0)
    inner, reach = end - side * wing_width, d1 + places.wing_m
    wings = polygons(lay(np.stack([inner, end, end, inner]), np.stack([d0, d0, reach, reach])))
    has_wing = places.wing_m > 0
    outline[has_wing] = shapely.union(outline[has_wing], wings[has_wing])

    scale = np.abs(turn)
    street = turn * np.where(parcel["along_x"], 1, 1j)  # direction of a on the ground
    back = _on_plan(parcel, (a0 + a1) / 2, d1) - middle
    length, width = a1 - a0, d1 - d0
    turned = (width > length) & ~has_wing
    turned ^= (rng.random(n) < 0.25) & (np.abs(width - length) < 3) & ~has_wing
    ridge = np.where(turned, 1j, 1) * street
    left = np.sign((back * turn / ridge).imag)  # which side of the ridge the back is on
    frame = pd.DataFrame(
        {
            "parcel": parcel["id"].to_numpy(),
            "x_m": centre.real,
            "y_m": centre.imag,
            "ridge_deg": np.rad2deg(np.angle(ridge)),
            "length_m": np.where(turned, width, length) * scale,
            "width_m": np.where(turned, length, width) * scale,
            "wing_side": np.where(has_wing, left, 0).astype(int),
            "wing_at_m": ((inner + end) / 2 - (a0 + a1) / 2) * scale,
            "wing_width_m": np.where(has_wing, wing_width * scale, 0.0),
            "geometry": outline,
        }
    )
    return frame.take(np.flatnonzero(big))


def _cover(
    rng: np.random.Generator, houses: pd.DataFrame, kind: District, setting: Setting
) -> pd.DataFrame:
    """Add form, height, material and colour of the roofs."""
    n = len(houses)
    frequency = np.array(_FREQUENCY[kind]) * setting.roof_bias
    covering = rng.choice(len(COVERINGS), n, p=frequency / frequency.sum())
    palette = np.array([_colour(colour, setting) for _, colour in COVERINGS])
    colour = palette[covering] * rng.normal(1, 0.10, (n, 1)).clip(0.7, 1.35)
    colour *= rng.normal(1, 0.035, (n, 4))
    material = np.array([material for material, _ in COVERINGS])[covering]

    forms = list(_FORMS[kind])
    roof = rng.choice(forms, n, p=list(_FORMS[kind].values()))
    roof[material == "concrete"] = "flat"
    roof[(roof == "flat") & np.isin(material, ["tile", "thatch"])] = "gable"
    roof[(houses["wing_side"] != 0) & np.isin(roof, ["hip", "shed"])] = "gable"
    limits = np.array([_PITCH_DEG[form] for form in _PITCH_DEG])
    limits = limits[[list(_PITCH_DEG).index(form) for form in roof]]
    light = (material == "metal") & (roof == "gable")
    limits[light] = _LOW_PITCH_DEG
    pitch = rng.uniform(limits[:, 0], limits[:, 1])
    small = houses["length_m"].to_numpy() * houses["width_m"].to_numpy() < 25
    eave = np.where(small, rng.uniform(2.2, 2.8, n), rng.uniform(*_EAVES_M[kind], n))
    run = np.where(roof == "shed", 1.0, 0.5) * houses["width_m"].to_numpy()
    return houses.assign(
        roof=roof,
        material=material,
        eave_m=eave,
        pitch_deg=pitch,
        height_m=eave + run * np.tan(np.deg2rad(pitch)),
        **dict(zip(("red", "green", "blue", "nir"), colour.T, strict=True)),
    )


def _colour(
    colour: Reflectance | Literal["soil", "asphalt", "paving"], setting: Setting
) -> Reflectance:
    match colour:
        case "soil":
            return setting.soil
        case "asphalt":
            return setting.asphalt
        case "paving":
            return setting.paving
        case _:
            return colour


def _sides(parcels: gpd.GeoDataFrame) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Frontage and depth of parcels, in metres of the plan."""
    along_x = parcels["along_x"].to_numpy(dtype=bool)
    x = (parcels["x1"] - parcels["x0"]).to_numpy()
    y = (parcels["y1"] - parcels["y0"]).to_numpy()
    return np.where(along_x, x, y), np.where(along_x, y, x)


def _on_plan(
    parcel: pd.DataFrame, a: Float[Array, "*k n"], d: Float[Array, "*k n"]
) -> Complex[Array, "*k n"]:
    """Points of the plan from metres along the street and away from it."""
    along_x, front = parcel["along_x"].to_numpy(dtype=bool), parcel["front"].to_numpy()
    x0, x1, y0, y1 = (parcel[name].to_numpy() for name in ("x0", "x1", "y0", "y1"))
    x = np.where(along_x, x0 + a, np.where(front == 0, x0 + d, x1 - d))
    y = np.where(along_x, np.where(front == 0, y0 + d, y1 - d), y0 + a)
    return x + 1j * y
