"""Reflectance, light and air: what reaches the camera from each pixel."""

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Bool, Float
from numpy import ndarray as Array
from scipy import ndimage

from gv_data.synthetic.buildings import STRAW
from gv_data.synthetic.layers import Layers
from gv_data.synthetic.relief import PARAPET_M, Relief, burn_rows
from gv_data.synthetic.setting import Reflectance, Setting

_GRASS: Reflectance = (0.10, 0.16, 0.07, 0.42)
_LEAVES: Reflectance = (0.055, 0.095, 0.04, 0.42)
_TWIGS: Reflectance = (0.24, 0.20, 0.14, 0.34)
_SKY: Reflectance = (0.20, 0.25, 0.33, 0.12)
"""Light of the clear sky relative to the sun's; it fills shadows, bluish."""
_AIR: Reflectance = (0.42, 0.47, 0.55, 0.25)
"""What haze looks like."""

# Contrast of the texture of each roof material: patches of metres, stripes down the slope, grain.
_TEXTURE = {
    "tile": (0.06, 0.05, 0.05),
    "metal": (0.09, 0.10, 0.02),
    "concrete": (0.11, 0.0, 0.05),
    "shingle": (0.06, 0.03, 0.06),
    "thatch": (0.10, 0.05, 0.10),
}


def reflectance(
    setting: Setting, layers: Layers, relief: Relief, rng: np.random.Generator
) -> Float[Array, "4 h w"]:
    """Colour of every surface in red, green, blue and near infrared, before light falls on it.

    Args:
        setting: Season and colours of the ground.
        layers: What stands and lies on it.
        relief: Made from the same layers.
        rng: Source of textures; the same one paints the same ground another day.
    """
    patches, grain = _noise(rng, setting, 14.0), _grain(rng, setting)
    fine = _noise(rng, setting, 2.2)
    picture = _yards(setting, layers.parcels, patches, fine).reshape(4, -1)
    texture = (1 + 0.13 * patches + 0.05 * fine + 0.05 * grain).ravel()
    _paint_roads(picture, setting, layers.roads, texture)

    slab = burn_rows(setting, layers.slabs.geometry.to_numpy()).ravel()
    pixel = np.flatnonzero(slab >= 0)
    picture[:, pixel] = _colours(layers.slabs)[:, slab[pixel]] * (1 + 0.04 * fine.ravel()[pixel])
    picture *= texture

    fence = relief.fence.ravel()
    picture[:, fence == 2] = _column(setting.paving) * 0.9
    hedge = np.flatnonzero(fence == 1)
    picture[:, hedge] = _column(_LEAVES) * (1 + 0.25 * grain.ravel()[hedge])
    _paint_cars(picture, setting, layers.cars, relief)
    _paint_crowns(picture, layers.trees, relief, (fine + 0.6 * grain).ravel())
    _paint_roofs(picture, setting, layers.buildings, relief, rng, patches.ravel(), grain.ravel())
    np.clip(picture, 0.01, 0.95, out=picture)
    return picture.reshape(4, setting.size_px, setting.size_px)


def illuminate(
    colour: Float[Array, "4 h w"], relief: Relief, shadow: Bool[Array, "h w"], setting: Setting
) -> Float[Array, "4 h w"]:
    """Let sun and sky fall on the surfaces.

    Roofs and crowns are shaded by the angle between their slope and the sun (Lambert); a level
    white surface in the sun gives about 1 + sky.
    """
    elevation, azimuth = np.deg2rad([setting.sun_elevation_deg, setting.sun_azimuth_deg])
    up, level = np.float32(np.sin(elevation)), np.cos(elevation)
    east = np.float32(level * np.sin(azimuth))
    north = np.float32(level * np.cos(azimuth))
    sun = np.full(relief.height_m.shape, up, np.float32)

    roofs = relief.roofs
    facing = up - roofs.slope_east * east - roofs.slope_north * north
    facing /= np.sqrt(1 + roofs.slope_east**2 + roofs.slope_north**2)
    sun.ravel()[roofs.pixel] = np.maximum(facing, 0)

    crown = ndimage.uniform_filter(relief.crown_m, 3)
    slope_south, slope_east = np.gradient(crown, np.float32(setting.gsd_m))
    leafy = relief.tree >= 0
    steep_east, steep_north = slope_east[leafy], -slope_south[leafy]
    facing = up - 0.5 * (steep_east * east + steep_north * north)
    sun[leafy] = np.maximum(facing / np.sqrt(1 + 0.25 * (steep_east**2 + steep_north**2)), 0.12)

    sun /= up
    sun[shadow] = 0
    return colour * (sun[None] + np.array(_SKY, np.float32)[:, None, None])


def add_haze(light: Float[Array, "4 h w"], setting: Setting) -> Float[Array, "4 h w"]:
    """Replace a share of the light by that of the air, less in the near infrared."""
    share = setting.haze * np.array([0.9, 1.0, 1.15, 0.5], np.float32)[:, None, None]
    return light * (1 - share) + share * np.array(_AIR, np.float32)[:, None, None]


def _yards(
    setting: Setting,
    parcels: gpd.GeoDataFrame,
    patches: Float[Array, "h w"],
    fine: Float[Array, "h w"],
) -> Float[Array, "4 h w"]:
    """Grass, soil and paving on parcels; between them the soil of the town."""
    row = burn_rows(setting, parcels.geometry.to_numpy())
    row[row < 0] = len(parcels)
    lush = parcels["ground"].map({"grass": 0.9, "soil": -1.1, "paving": -9.0}).to_numpy()
    tone = parcels["tone"].to_numpy()
    paved = (parcels["ground"] == "paving").to_numpy()
    lush, tone = np.append(lush, -1), np.append(tone, 1)  # the last row: no parcel
    paved = np.append(paved, False)
    green = lush.astype(np.float32)[row] + 0.9 * patches + 0.35 * fine
    green = np.clip(0.5 + 0.9 * green, 0, 1)
    grass = setting.greenness * _column(_GRASS) + (1 - setting.greenness) * _column(STRAW)
    bare = np.where(paved[:, None], setting.paving, setting.soil).astype(np.float32)
    bare *= tone[:, None]
    lawn = (tone[:, None] * grass[:, 0]).astype(np.float32)
    picture = bare.T.take(row, axis=1)
    picture += (lawn.T.take(row, axis=1) - picture) * green
    return picture


def _paint_roads(
    picture: Float[Array, "4 n"],
    setting: Setting,
    roads: gpd.GeoDataFrame,
    texture: Float[Array, " n"],
) -> None:
    """Carriageways with pavements and a faded middle line; earth streets without."""
    lines, width = roads.geometry.to_numpy(), roads["width_m"].to_numpy()
    hard = roads["surface"].to_numpy() == "asphalt"
    bands = np.concatenate(
        [
            shapely.buffer(lines[~hard], width[~hard] / 2, cap_style="flat"),
            shapely.buffer(lines[hard], width[hard] / 2 + 1.4, quad_segs=4),
            shapely.buffer(lines[hard], width[hard] / 2, quad_segs=4),
            shapely.buffer(lines[hard & (width > 8)], 0.12),
        ]
    )
    counts = [(~hard).sum(), hard.sum(), hard.sum(), (hard & (width > 8)).sum()]
    kind = np.repeat(np.arange(4), counts)
    row = burn_rows(setting, bands).ravel()
    pixel = np.flatnonzero(row >= 0)
    colours = np.stack(
        [
            _column(setting.soil)[:, 0] * 1.1,
            _column(setting.paving)[:, 0] * 0.95,
            _column(setting.asphalt)[:, 0],
            _column(setting.asphalt)[:, 0] + 0.2,
        ],
        axis=1,
    )
    picture[:, pixel] = colours[:, kind[row[pixel]]]
    # earth is carried onto the asphalt where the ground is bright
    dirt = np.clip(2.5 * (texture[pixel] - 1.05), 0, 0.45) * (kind[row[pixel]] > 0)
    picture[:, pixel] += dirt * (_column(setting.soil) - picture[:, pixel])


def _paint_cars(
    picture: Float[Array, "4 n"], setting: Setting, cars: gpd.GeoDataFrame, relief: Relief
) -> None:
    """Bodies, and dark glass before and behind the roof."""
    car = relief.car.ravel()
    pixel = np.flatnonzero(car >= 0)
    row = car[pixel]
    middle = shapely.centroid(cars.geometry.to_numpy())
    east = (pixel % setting.size_px + 0.5) * setting.gsd_m + setting.transform.c
    north = setting.transform.f - (pixel // setting.size_px + 0.5) * setting.gsd_m
    angle = np.deg2rad(cars["heading_deg"].to_numpy())[row]
    middle_east, middle_north = shapely.get_coordinates(middle)[row].T
    east, north = east - middle_east, north - middle_north
    along = np.abs(east * np.cos(angle) + north * np.sin(angle))
    glass = (along > 0.8) & (along < 1.35)
    picture[:, pixel] = np.where(glass, 0.05, _colours(cars)[:, row])


def _paint_crowns(
    picture: Float[Array, "4 n"],
    trees: gpd.GeoDataFrame,
    relief: Relief,
    leaves: Float[Array, " n"],
) -> None:
    tree = relief.tree.ravel()
    pixel = np.flatnonzero(tree >= 0)
    dry = trees["dry"].to_numpy(dtype=np.float32)
    colour = _column(_LEAVES) * (1 - dry) + _column(_TWIGS) * dry
    colour *= trees["tone"].to_numpy(dtype=np.float32)
    picture[:, pixel] = colour[:, tree[pixel]] * np.clip(1 + 0.22 * leaves[pixel], 0.4, 1.8)


def _paint_roofs(
    picture: Float[Array, "4 n"],
    setting: Setting,
    buildings: gpd.GeoDataFrame,
    relief: Relief,
    rng: np.random.Generator,
    patches: Float[Array, " n"],
    grain: Float[Array, " n"],
) -> None:
    """Coverings with stains, sheets or rows of tiles, ridges, parapets and roof lights."""
    roofs = relief.roofs
    pixel, row = roofs.pixel, roofs.row
    contrast = np.array([_TEXTURE[name] for name in buildings["material"]], np.float32)
    stain, stripe, rough = contrast.reshape(-1, 3)[row].T
    table = rng.standard_normal(4096).astype(np.float32)
    sheet = np.floor(roofs.along_m / np.float32(0.9)).astype(np.int64)
    house = buildings["id"].to_numpy()[row]
    texture = 1 + stripe * table[(house * 97 + sheet) % 4096]
    shifted = np.roll(patches, 40 * setting.size_px)  # stains of roofs are not those of the ground
    texture += stain * shifted[pixel] + rough * grain[pixel]

    flat = np.isin(buildings["roof"].to_numpy().astype(str), ["flat", "shed"])[row]
    ridge = ~flat & (np.abs(roofs.across_m) < max(0.15, setting.gsd_m / 2))
    texture += np.where(ridge, np.float32(0.08), np.float32(0))
    texture += np.where(flat & (roofs.edge_m < PARAPET_M), np.float32(0.12), np.float32(0))
    colour = _colours(buildings)[:, row] * texture

    cell = np.floor(roofs.across_m / np.float32(1.3)).astype(np.int64)
    cell = house * 131 + cell * 17 + np.floor(roofs.along_m / np.float32(1.7)).astype(np.int64)
    fixture = table[cell % 4096]
    wide = (np.abs(roofs.across_m) > 0.6) & (roofs.edge_m > 0.8)
    colour[:, wide & (fixture > 2.2)] = 0.07  # roof lights and panels
    colour[:, wide & (fixture < -2.3)] = 0.6  # tanks and patches of new sheet
    picture[:, pixel] = colour


def _noise(rng: np.random.Generator, setting: Setting, size_m: float) -> Float[Array, "h w"]:
    """Smooth noise of unit variance with features of about ``size_m``, and of half of it."""
    total = np.zeros((setting.size_px, setting.size_px), np.float32)
    for octave, weight in ((1.0, 0.8), (0.5, 0.6)):
        cells = max(2, round(setting.extent_m / (size_m * octave)) + 1)
        grid = rng.standard_normal((cells, cells), np.float32)
        at = np.linspace(0, cells - 1, setting.size_px, endpoint=False, dtype=np.float32)
        low = at.astype(np.intp)
        high = np.minimum(low + 1, cells - 1)
        part = at - low
        part = part * part * (3 - 2 * part)
        columns = grid[:, low] * (1 - part) + grid[:, high] * part
        part = np.float32(weight * 1.3) * np.stack([1 - part, part])[:, :, None]
        total += columns[low] * part[0]
        total += columns[high] * part[1]
    return total


def _grain(rng: np.random.Generator, setting: Setting) -> Float[Array, "h w"]:
    """Noise from pixel to pixel, of unit variance."""
    return rng.standard_normal((setting.size_px, setting.size_px), np.float32)


def _colours(table: gpd.GeoDataFrame) -> Float[Array, "4 n"]:
    return table[["red", "green", "blue", "nir"]].to_numpy(dtype=np.float32).T


def _column(colour: Reflectance) -> Float[Array, "4 1"]:
    return np.array(colour, np.float32)[:, None]
