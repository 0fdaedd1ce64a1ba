"""Heights above ground from the tables, and the shadows they cast."""

import json
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array
from rasterio.features import rasterize

from gv_data.synthetic.layers import Layers
from gv_data.synthetic.setting import Setting

PARAPET_M = 0.5
"""Width of the rim of flat roofs."""
_RIM_M = 0.3
_FENCE_M = {"hedge": 1.3, "wall": 1.8}


@dataclass(frozen=True)
class Roofs:
    """The pixels that roofs cover, as lists over these pixels."""

    pixel: Int[Array, " n"]
    """Index into the flattened image."""
    row: Int[Array, " n"]
    """Row of the building in its table."""
    height_m: Float[Array, " n"]
    slope_east: Float[Array, " n"]
    """Rise per metre to the east."""
    slope_north: Float[Array, " n"]
    along_m: Float[Array, " n"]
    """Distance from the middle of the house along its ridge."""
    across_m: Float[Array, " n"]
    edge_m: Float[Array, " n"]
    """Distance inwards from the outline of the house's rectangle; negative on wings."""


@dataclass(frozen=True)
class Relief:
    """Heights above ground, and what they belong to."""

    height_m: Float[Array, "h w"]
    """Roofs, crowns, fences and cars."""
    roofs: Roofs
    crown_m: Float[Array, "h w"]
    """Height of tree crowns alone; 0 elsewhere."""
    tree: Int[Array, "h w"]
    """Row of the tree in its table; -1 elsewhere."""
    fence: Int[Array, "h w"]
    """0 none, 1 hedge, 2 wall."""
    car: Int[Array, "h w"]
    """Row of the car in its table; -1 elsewhere."""


def raise_relief(setting: Setting, layers: Layers) -> Relief:
    """Rasterise all that stands above the ground.

    A pixel belongs to a building when its centre does, and a roof hides what is below it.
    """
    roofs = roof_surfaces(setting, layers.buildings)
    height = np.zeros((setting.size_px, setting.size_px), np.float32)
    fence = fence_pixels(setting, layers.parcels)
    height[fence == 1], height[fence == 2] = _FENCE_M["hedge"], _FENCE_M["wall"]
    car = burn_rows(setting, layers.cars.geometry.to_numpy())
    parked = car >= 0
    height[parked] = layers.cars["height_m"].to_numpy(dtype=np.float32)[car[parked]]
    crown, tree = crowns(setting, layers.trees)
    for layer, empty in ((crown, 0), (tree, -1), (fence, 0), (car, -1)):
        layer.ravel()[roofs.pixel] = empty
    np.maximum(height, crown, out=height)
    height.ravel()[roofs.pixel] = roofs.height_m
    return Relief(height, roofs, crown, tree, fence, car)


def roof_surfaces(setting: Setting, buildings: gpd.GeoDataFrame) -> Roofs:
    """Height and slope of every roof pixel, from the form that the table gives.

    Args:
        setting: Where the pixels lie.
        buildings: Table as ``build_houses`` makes it.
    """
    burnt = burn_rows(setting, buildings.geometry.to_numpy()).ravel()
    pixel = np.flatnonzero(burnt >= 0)
    row = burnt[pixel]

    def column(name: str) -> Float[Array, " n"]:
        return buildings[name].to_numpy(dtype=np.float32)[row]

    west, north = setting.transform.c, setting.transform.f
    middle_x = (buildings["x_m"].to_numpy() - west).astype(np.float32)[row]
    middle_y = (buildings["y_m"].to_numpy() - north).astype(np.float32)[row]
    east = (pixel % setting.size_px + np.float32(0.5)) * np.float32(setting.gsd_m) - middle_x
    up = -(pixel // setting.size_px + np.float32(0.5)) * np.float32(setting.gsd_m) - middle_y
    angle = np.deg2rad(buildings["ridge_deg"].to_numpy())
    cosine = np.cos(angle).astype(np.float32)[row]
    sine = np.sin(angle).astype(np.float32)[row]
    along, across = east * cosine + up * sine, up * cosine - east * sine

    tilt = np.tan(np.deg2rad(buildings["pitch_deg"].to_numpy())).astype(np.float32)[row]
    forms = buildings["roof"].to_numpy().astype(str)
    shed, flat, hip = ((forms == form)[row] for form in ("shed", "flat", "hip"))
    side_m = column("width_m") / 2 - np.abs(across)  # from the eaves
    end_m = column("length_m") / 2 - np.abs(along)
    wing_m = column("wing_width_m") / 2 - np.abs(along - column("wing_at_m"))
    on_wing = (wing_m > side_m) & (column("wing_side") * across > 0)
    on_end = hip & (end_m < side_m)

    run = np.where(on_end, end_m, np.where(on_wing, wing_m, side_m))
    run = np.where(shed, column("width_m") / 2 - across, run)
    rise = np.maximum(run, 0) * tilt
    edge = np.minimum(side_m, end_m)
    rise += np.where(flat & (edge < PARAPET_M), np.float32(_RIM_M), np.float32(0))
    # a roof rises towards its ridge: lengthwise on hip ends and wings, across it elsewhere
    uphill = np.where(on_wing, column("wing_at_m") - along, -along)
    rise_along = np.where(on_end | on_wing, tilt * np.sign(uphill), 0)
    rise_across = np.where(on_end | on_wing, 0, tilt * np.where(shed, -1, -np.sign(across)))
    return Roofs(
        pixel,
        row,
        column("eave_m") + rise,
        (rise_along * cosine - rise_across * sine).astype(np.float32),
        (rise_along * sine + rise_across * cosine).astype(np.float32),
        along,
        across,
        edge,
    )


def crowns(
    setting: Setting, trees: gpd.GeoDataFrame
) -> tuple[Float[Array, "h w"], Int[Array, "h w"]]:
    """Domes over the trees: height in metres, and which tree; where crowns meet, the higher."""
    size, gsd = setting.size_px, setting.gsd_m
    height = np.zeros((size, size), np.float32)
    owner = np.full((size, size), -1, np.int32)
    east, north = shapely.get_coordinates(trees.geometry.to_numpy()).T
    columns = (east - setting.transform.c) / gsd - 0.5
    lines = (setting.transform.f - north) / gsd - 0.5
    radii = trees["radius_m"].to_numpy() / gsd
    tops = trees["height_m"].to_numpy()
    for index, (x, y, radius, top) in enumerate(zip(columns, lines, radii, tops, strict=True)):
        x0, x1 = max(0, int(x - radius)), min(size, int(x + radius) + 2)
        y0, y1 = max(0, int(y - radius)), min(size, int(y + radius) + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        offset = (np.arange(x0, x1) - x)[None, :] - 1j * (np.arange(y0, y1) - y)[:, None]
        angle, phase = np.angle(offset), np.angle(x + 1j * y) * 400
        lumps = 0.88 + 0.07 * np.sin(3 * angle + phase) + 0.05 * np.sin(7 * angle - phase)
        inside = 1 - np.abs(offset) ** 2 / (radius * lumps) ** 2
        dome = top * (0.45 + 0.55 * np.sqrt(np.maximum(inside, 0)))
        window = height[y0:y1, x0:x1]
        higher = (inside > 0) & (dome > window)
        window[higher] = dome[higher]
        owner[y0:y1, x0:x1][higher] = index
    return height, owner


def fence_pixels(setting: Setting, parcels: gpd.GeoDataFrame) -> Int[Array, "h w"]:
    """Parcel borders that carry a hedge (1) or a wall (2)."""
    kinds = parcels["fence"].map({"none": 0, "hedge": 1, "wall": 2}).to_numpy()
    lines = shapely.boundary(parcels.geometry.to_numpy()[kinds > 0])
    return _burn(setting, lines, kinds[kinds > 0], fill=0)


def burn_rows(setting: Setting, shapes: Array) -> Int[Array, "h w"]:
    """Row number of the shape that covers each pixel centre; -1 where there is none."""
    return _burn(setting, shapes, np.arange(len(shapes)), fill=-1)


def shadows(
    height_m: Float[Array, "h w"], gsd_m: float, sun_azimuth_deg: float, sun_elevation_deg: float
) -> Bool[Array, "h w"]:
    """Cast shadows on a surface.

    A pixel lies in shadow when, on the way to the sun, some pixel is higher than the ray. What
    lies outside the raster casts none.

    Args:
        height_m: Heights; rows run south, columns east.
        gsd_m: Pixel size.
        sun_azimuth_deg: Where the sun stands, clockwise from north.
        sun_elevation_deg: Above the horizon, more than 0.

    Examples:
        A wall 2.5 m high, the sun in the west at 45 degrees: the shadow is 2.5 m long.

        >>> ground = np.zeros((1, 8))
        >>> ground[0, 2] = 2.5
        >>> shadows(ground, 1.0, 270, 45)[0].astype(int)
        array([0, 0, 0, 1, 1, 0, 0, 0])
    """
    azimuth = np.deg2rad(sun_azimuth_deg)
    to_sun = np.array([-np.cos(azimuth), np.sin(azimuth)])  # rows, columns
    stride = to_sun / np.abs(to_sun).max()
    step_m = gsd_m * float(np.hypot(*stride))
    climb_m = step_m * np.tan(np.deg2rad(sun_elevation_deg))
    height = np.asarray(height_m, np.float32)
    shape = height.shape
    horizon = np.zeros(shape, np.float32)
    for step in range(1, int(np.ptp(height) / climb_m) + 2):
        down, right = (int(np.rint(step * part)) for part in stride)
        if abs(down) >= shape[0] or abs(right) >= shape[1]:
            break
        here, there = _overlap(shape[0], down), _overlap(shape[1], right)
        ray = height[here[1], there[1]] - np.float32(step * climb_m)
        np.maximum(horizon[here[0], there[0]], ray, out=horizon[here[0], there[0]])
    return horizon > height + np.float32(1e-4)


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Where pixels and their neighbours ``shift`` further are both inside."""
    if shift >= 0:
        return slice(0, length - shift), slice(shift, length)
    return slice(-shift, length), slice(0, length + shift)


def _burn(setting: Setting, shapes: Array, values: Array, fill: int) -> Int[Array, "h w"]:
    size = setting.size_px
    if not len(shapes):
        return np.full((size, size), fill, np.int32)
    # GeoJSON keeps every digit and is read five times faster than shapely's own objects
    burnt = [json.loads(text) for text in shapely.to_geojson(shapes)]
    return rasterize(
        zip(burnt, values.tolist(), strict=True),
        out_shape=(size, size),
        transform=setting.transform,
        fill=fill,
        dtype="int32",
    )
