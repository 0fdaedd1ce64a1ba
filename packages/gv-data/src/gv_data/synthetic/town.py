"""A georeferenced town with exact truth, from a seed."""

from dataclasses import dataclass, field

import geopandas as gpd
import numpy as np
from affine import Affine
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from pyproj import CRS

from gv_data.synthetic.buildings import COVERINGS, build_houses
from gv_data.synthetic.layers import Layers, keep
from gv_data.synthetic.relief import Relief, raise_relief, shadows
from gv_data.synthetic.render import add_haze, illuminate, reflectance
from gv_data.synthetic.sensor import expose
from gv_data.synthetic.setting import Density, Setting, draw_setting
from gv_data.synthetic.streets import cut_parcels, draw_plan, lay_roads
from gv_data.synthetic.yards import lay_slabs, park_cars, plant_trees, tend_parcels

_LAYERS = (
    "setting",
    "streets",
    "parcels",
    "buildings",
    "yards",
    "trees",
    "cars",
    "ground",
    "noise",
)


@dataclass(frozen=True)
class Town:
    """An image and all that is true of it."""

    seed: int
    setting: Setting
    layers: Layers
    """What was painted; its tables reach over the border of the image."""
    image: UInt8[Array, "4 h w"] = field(repr=False)
    """Red, green, blue, near infrared, seen from straight above; no nodata."""
    height_m: Float[Array, "h w"] = field(repr=False)
    """Heights above the ground, which is level."""
    buildings: gpd.GeoDataFrame = field(repr=False)
    """The houses of ``layers``, clipped to the image. One polygon a house, also where houses
    touch; rasterised on the image's grid they are exactly the roofs seen."""

    @property
    def roads(self) -> gpd.GeoDataFrame:
        """Edges of the street graph: ``u``, ``v``, ``width_m``, ``surface``, centre lines."""
        return self.layers.roads

    @property
    def transform(self) -> Affine:
        """Pixel corners to metres of ``crs``."""
        return self.setting.transform

    @property
    def crs(self) -> CRS:
        """A UTM zone."""
        return self.setting.crs


def town(
    seed: int,
    *,
    size_px: int = 1024,
    gsd_m: float = 0.3,
    density: Density = "mixed",
    epsg: int = 32737,
) -> Town:
    """Make a town.

    Args:
        seed: Decides everything; other seeds lie on other ground.
        size_px: Side of the image.
        gsd_m: Ground sampling distance; a town is at most 2 km wide.
        density: How closely houses stand.
        epsg: The UTM zone to lie in.

    Returns:
        The same town for the same arguments, in every process.

    Raises:
        ValueError: If the CRS is no UTM zone or the town is too wide.

    Examples:
        >>> small = town(7, size_px=128)
        >>> small.image.shape, small.crs.to_epsg()
        ((4, 128, 128), 32737)
    """
    rng = streams(seed)
    setting = draw_setting(
        rng["setting"],
        seed=seed,
        size_px=size_px,
        gsd_m=gsd_m,
        density=density,
        epsg=epsg,
        coverings=len(COVERINGS),
    )
    layers = draw_layers(setting, rng)
    image, relief = photograph(setting, layers, ground=rng["ground"], noise=rng["noise"])
    return Town(
        seed=seed,
        setting=setting,
        layers=layers,
        image=image,
        height_m=relief.height_m,
        buildings=clip(layers.buildings, setting),
    )


def streams(seed: int) -> dict[str, np.random.Generator]:
    """One independent generator a layer: changing how one draws leaves the others as they are."""
    seeds = np.random.SeedSequence(seed).spawn(len(_LAYERS))
    return {name: np.random.default_rng(s) for name, s in zip(_LAYERS, seeds, strict=True)}


def draw_layers(setting: Setting, rng: dict[str, np.random.Generator]) -> Layers:
    """Draw all that stands and lies in a town.

    Args:
        setting: Its ground and fashion.
        rng: From ``streams``.
    """
    plan = draw_plan(rng["streets"], setting)
    roads, nodes = lay_roads(plan, setting)
    parcels = tend_parcels(rng["yards"], cut_parcels(rng["parcels"], plan, setting))
    buildings = build_houses(rng["buildings"], parcels, setting)
    return Layers(
        roads=roads,
        nodes=nodes,
        parcels=parcels,
        buildings=buildings,
        slabs=lay_slabs(rng["yards"], parcels, buildings, setting),
        trees=plant_trees(rng["trees"], parcels, buildings, roads, setting),
        cars=park_cars(rng["cars"], roads, buildings, setting),
    )


def photograph(
    setting: Setting,
    layers: Layers,
    *,
    ground: np.random.Generator,
    noise: np.random.Generator,
) -> tuple[UInt8[Array, "4 h w"], Relief]:
    """Take a picture of a town from straight above.

    Args:
        setting: Light, season and camera.
        layers: What to paint.
        ground: Source of textures; the ``ground`` stream of the same seed paints the same ground.
        noise: Source of the camera's noise.

    Returns:
        The image and the heights it was painted from.
    """
    relief = raise_relief(setting, layers)
    colour = reflectance(setting, layers, relief, ground)
    shadow = shadows(
        relief.height_m, setting.gsd_m, setting.sun_azimuth_deg, setting.sun_elevation_deg
    )
    light = add_haze(illuminate(colour, relief, shadow, setting), setting)
    return expose(light, setting, noise), relief


def clip(table: gpd.GeoDataFrame, setting: Setting) -> gpd.GeoDataFrame:
    """Cut polygons at the border of the image; what only touches it goes."""
    cut = table.geometry.intersection(setting.footprint)
    return keep(table.set_geometry(cut), cut.area > 0).reset_index(drop=True)
