"""What a whole town shares: its ground, its light, its season and the camera above it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Complex, Float
from numpy import ndarray as Array
from pyproj import CRS

Density = Literal["suburb", "terrace", "informal", "mixed"]
"""How closely houses stand: detached, in rows that share walls, packed, or all of them."""

Reflectance = tuple[float, float, float, float]
"""Share of the light that a surface reflects in red, green, blue and near infrared, 0 to 1."""

CELL_M = 2_000.0
"""Towns lie on a lattice of this spacing, so that two seeds never share ground."""
_LATTICE = (250, 2_400)  # columns and rows; eastings 250 to 750 km, northings 4,900 to 9,700 km

_SOILS: tuple[Reflectance, ...] = (
    (0.40, 0.25, 0.16, 0.44),  # laterite
    (0.46, 0.39, 0.29, 0.50),  # sand
    (0.27, 0.21, 0.15, 0.34),  # loam
    (0.35, 0.32, 0.28, 0.40),  # clay
)


@dataclass(frozen=True)
class Setting:
    """One town's ground and conditions; ``dataclasses.replace`` makes another day of it."""

    transform: Affine
    """Pixel corners to metres of ``crs``; north up."""
    crs: CRS
    size_px: int
    gsd_m: float
    density: Density
    street_angle_deg: float
    """Direction of the first street, counter-clockwise from east."""
    bend: complex
    """How strongly, and which way, streets curve; 0 is a straight grid."""
    house_scale: float
    """House size relative to the usual one of its district."""
    roof_bias: tuple[float, ...]
    """Fashion: factors on the frequency of each roof covering."""
    sun_azimuth_deg: float
    """Where the sun stands, clockwise from north."""
    sun_elevation_deg: float
    haze: float
    """Share of the light that the air replaces by its own, 0 to 1."""
    greenness: float
    """Season: 0 is the end of the dry one, 1 the height of growth."""
    soil: Reflectance
    asphalt: Reflectance
    paving: Reflectance
    balance: tuple[float, float, float, float]
    """Gain of each band: cameras and their white balance differ."""
    gamma: float
    """Tone curve: orthophotos are delivered with their shadows lifted."""
    blur_px: float
    """Standard deviation of the point spread."""
    noise: float
    """Standard deviation of the sensor noise at full brightness, as a share of it."""

    @property
    def extent_m(self) -> float:
        """Length of a side of the image on the ground."""
        return self.size_px * self.gsd_m

    @property
    def footprint(self) -> shapely.Polygon:
        """The ground the image shows, in ``crs``."""
        west, north = self.transform.c, self.transform.f
        return shapely.box(west, north - self.extent_m, west + self.extent_m, north)

    def ground(self, plan: Complex[Array, "..."]) -> Complex[Array, "..."]:
        """Lay a drawing on the ground.

        A drawing has straight streets along its axes. The map is conformal (a quadratic in the
        complex plane), so streets curve while corners stay right angles.

        Args:
            plan: Points x + iy in metres from the middle of the town.

        Returns:
            Easting + i northing in metres of ``crs``.
        """
        west, north = self.transform.c, self.transform.f
        middle = complex(west + self.extent_m / 2, north - self.extent_m / 2)
        curved = plan + self.bend * plan**2 / (2 * self.extent_m)
        return middle + self._rotation * curved

    def turn(self, plan: Complex[Array, "..."]) -> Complex[Array, "..."]:
        """Rotation and scale of ``ground`` at points of the drawing: its derivative."""
        return self._rotation * (1 + self.bend * plan / self.extent_m)

    def pixel_centres(self) -> tuple[Float[Array, "1 w"], Float[Array, "h 1"]]:
        """Eastings and northings of the pixel centres, in metres from the north-west corner."""
        steps = (np.arange(self.size_px, dtype=np.float32) + 0.5) * np.float32(self.gsd_m)
        return steps[None, :], -steps[:, None]

    @property
    def _rotation(self) -> complex:
        return complex(np.exp(1j * np.deg2rad(self.street_angle_deg)))


def draw_setting(
    rng: np.random.Generator,
    *,
    seed: int,
    size_px: int,
    gsd_m: float,
    density: Density,
    epsg: int,
    coverings: int,
) -> Setting:
    """Draw a town's ground and conditions.

    Args:
        rng: Source of all choices but the place.
        seed: Decides the place: seeds below 600,000 never share ground.
        size_px: Side of the image.
        gsd_m: Ground sampling distance.
        density: How closely houses stand.
        epsg: A UTM zone.
        coverings: How many kinds of roof covering there are.

    Raises:
        ValueError: If the CRS is no UTM zone or the town is larger than its cell of the lattice.
    """
    crs = CRS.from_epsg(epsg)
    if crs.utm_zone is None:
        raise ValueError(f"a town lies in a UTM zone, EPSG:{epsg} is none; EPSG:32737 is one")
    if not 0 < size_px * gsd_m <= CELL_M:
        raise ValueError(
            f"a town is at most {CELL_M:g} m wide, {size_px} px of {gsd_m} m are "
            f"{size_px * gsd_m:g} m; for larger scenes use gv_data.synthetic.mosaic"
        )
    row, column = divmod(seed % (_LATTICE[0] * _LATTICE[1]), _LATTICE[0])
    west, north = 250_000 + column * CELL_M, 9_700_000 - row * CELL_M
    soil = np.array(_SOILS[rng.integers(len(_SOILS))]) * rng.uniform(0.85, 1.12)
    grey = np.array([1.0, 0.99, 0.96, 1.08])
    return Setting(
        transform=Affine(gsd_m, 0, west, 0, -gsd_m, north),
        crs=crs,
        size_px=size_px,
        gsd_m=gsd_m,
        density=density,
        street_angle_deg=rng.uniform(0, 90),
        bend=complex(rng.uniform(0, 0.25) * np.exp(1j * rng.uniform(0, 2 * np.pi))),
        house_scale=rng.uniform(0.88, 1.15),
        roof_bias=tuple(rng.gamma(0.9, size=coverings) + 0.1),
        sun_azimuth_deg=rng.uniform(0, 360),
        sun_elevation_deg=rng.uniform(32, 65),
        haze=rng.uniform(0.02, 0.22),
        greenness=rng.uniform(0.1, 1),
        soil=_reflectance(soil),
        asphalt=_reflectance(rng.uniform(0.12, 0.24) * grey),
        paving=_reflectance(rng.uniform(0.30, 0.46) * grey),
        balance=_reflectance(rng.uniform(0.88, 1.12, 4)),
        gamma=rng.uniform(1.35, 1.9),
        blur_px=rng.uniform(0.45, 0.8),
        noise=rng.uniform(0.008, 0.02),
    )


def _reflectance(values: Float[Array, "4"]) -> tuple[float, float, float, float]:
    red, green, blue, nir = (float(value) for value in values)
    return red, green, blue, nir
