"""Random changes of where the pixels of a window lie, each still naming its own ground.

A transform is a function of a sample of arrays and a generator, so the same window with the same
seed is changed in the same way in any process. All rasters of the sample (``image``, ``valid``,
``mask``, ``edge`` and any other array whose last two axes are those of ``image``) move together,
all dates of a series alike, and the georeference moves with them:

* ``transform``: six or nine numbers of the affine transform from (column, row) of pixel corners to
  (x, y) in units of the CRS. Turned windows have rotation or reflection terms in it.
* ``bounds``: torchgeo's x start, stop, step, y start, stop, step and what follows: the smallest
  upright rectangle that holds the window, in units of the CRS; the steps are the sides of a pixel.

`gv_data.grid.Grid` is upright: a turned window is one to learn from, not one to write as a map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from jaxtyping import Float
from scipy import ndimage

from gv_data.errors import SampleError
from gv_data.windows.dataset import IGNORE, LABELS, UNNUMBERED, Sample

type Transform = Callable[[Sample, np.random.Generator], Sample]

_WHOLE = 1 - 1e-6
"""Weight of valid pixels from which rounding only keeps it below one."""


def chain(*transforms: Transform) -> "Chain":
    """One transform that applies several in order."""
    return Chain(transforms)


@dataclass(frozen=True)
class Chain:
    """Transforms applied one after the other.

    Attributes:
        transforms: In this order.
    """

    transforms: Sequence[Transform]

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change a sample."""
        for transform in self.transforms:
            sample = transform(sample, random)
        return sample


def turn(sample: Sample, random: np.random.Generator) -> Sample:
    """Turn by 0, 90, 180 or 270 degrees and mirror or not; all eight are as likely."""
    return turned(sample, int(random.integers(4)), mirrored=bool(random.integers(2)))


def turned(sample: Sample, quarters: int, *, mirrored: bool = False) -> Sample:
    """Turn by right angles, then mirror left and right; no value changes.

    Args:
        sample: What to turn.
        quarters: Turns by 90 degrees, counter-clockwise as one sees the image.
        mirrored: Whether to mirror after the turns.

    Returns:
        The sample with h and w exchanged by odd turns. ``bounds`` stay, for it is the same ground.

    Raises:
        SampleError: If an array is not on the grid of the image.

    Examples:
        >>> sample = {"image": np.arange(6.0).reshape(1, 2, 3), "transform": [10, 0, 0, 0, -10, 0]}
        >>> after = turned(sample, 1)
        >>> after["image"][0].tolist()
        [[2.0, 5.0], [1.0, 4.0], [0.0, 3.0]]
        >>> Affine(*after["transform"]) @ (0, 0)  # the upper left corner was the upper right one
        (30.0, 0.0)
    """
    rasters = {}
    for key, raster in rasters_of(sample).items():
        rotated = np.rot90(raster, quarters, axes=(-2, -1))
        rasters[key] = np.flip(rotated, axis=-1) if mirrored else rotated
    height, width = np.shape(sample["image"])[-2:]
    back = Affine.identity()
    for _ in range(quarters % 4):
        back @= Affine(0, -1, width, 1, 0, 0)
        height, width = width, height
    if mirrored:
        back @= Affine(-1, 0, width, 0, 1, 0)
    return {**_placed(sample, back), **rasters}


@dataclass(frozen=True)
class Rotation:
    """Turn by any angle about the middle of the window, with another size of the pixels.

    The corners of the result have no image: read larger windows and `Crop` them, or zoom in.

    Attributes:
        angle_deg: Largest angle each way, in degrees of the pixel grid.
        zoom: Smallest and largest factor on the size of a pixel, drawn evenly in its logarithm:
            above 1 a window covers more ground. At most 2, beyond which interpolation skips pixels;
            the ``zoom`` of `gv_data.windows.samplers.RandomWindows` averages them.
    """

    angle_deg: float = 180.0
    zoom: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.zoom
        if not (0 <= self.angle_deg <= 180 and 0 < low <= high <= 2):
            raise SampleError(
                "a rotation needs an angle from 0 to 180 degrees and 0 < zoom[0] <= zoom[1] <= 2, "
                f"got {self.angle_deg} and {self.zoom}"
            )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Turn a sample."""
        angle_deg = random.uniform(-self.angle_deg, self.angle_deg)
        return rotated(sample, angle_deg, zoom=float(np.exp(random.uniform(*np.log(self.zoom)))))


def rotated(sample: Sample, angle_deg: float, *, zoom: float = 1.0) -> Sample:
    """Turn by an angle about the middle; a window of the same number of rows and columns.

    Rasters of floats are interpolated (bilinear), all others and `LABELS` take the nearest pixel.
    A pixel is valid where all it is interpolated from is: what is not there does not bleed in.
    Elsewhere rasters are 0, `LABELS` unknown: `IGNORE`, `UNNUMBERED`, or NaN when they are floats.

    Args:
        sample: What to turn; ``valid`` is (h, w), or (t, h, w) of a series.
        angle_deg: Counter-clockwise as one sees the image, in degrees of the pixel grid; where
            pixels are not square (a CRS in degrees), the ground is sheared too, and ``transform``
            says so.
        zoom: Factor on the size of a pixel.

    Raises:
        SampleError: If an array is not on the grid of the image.
    """
    rasters = rasters_of(sample)
    height, width = rasters["valid"].shape[-2:]
    middle = Affine.translation(width / 2, height / 2)
    back = middle @ Affine.rotation(angle_deg) @ Affine.scale(zoom) @ ~middle
    rows, columns = np.mgrid[:height, :width] + 0.5
    column, row = (
        back.a * columns + back.b * rows + back.c - 0.5,
        back.d * columns + back.e * rows + back.f - 0.5,
    )
    places = np.stack([row, column])
    seen = {
        key: _interpolated(raster.astype(float), places) > _WHOLE
        for key, raster in rasters.items()
        if key == "valid" or key.removesuffix("_valid") in rasters.keys() - {key}
    }
    changed = _placed(sample, back)
    nearest = (
        np.clip(np.rint(row).astype(int), 0, height - 1),
        np.clip(np.rint(column).astype(int), 0, width - 1),
    )
    for key in rasters.keys() - seen.keys():
        raster, shown = rasters[key], validity({**rasters, **seen}, key)
        if raster.dtype.kind == "f" and key not in LABELS:
            smooth = _interpolated(np.where(validity(rasters, key), raster, 0), places)
            changed[key] = np.where(shown, smooth, raster.dtype.type(0))
        else:
            changed[key] = np.where(shown, raster[(..., *nearest)], _unknown(key, raster.dtype))
    return _bounded({**changed, **seen})


@dataclass(frozen=True)
class Crop:
    """A square window anywhere in a larger one.

    Attributes:
        window_px: Its side.
    """

    window_px: int

    def __post_init__(self) -> None:
        if self.window_px < 1:
            raise SampleError(f"a crop needs pixels, got a side of {self.window_px}")

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Cut a sample."""
        height, width = np.shape(sample["image"])[-2:]
        if min(height, width) < self.window_px:
            raise SampleError(
                f"a crop of {self.window_px} px does not fit into a window of {height} x {width}: "
                "read larger windows or crop less"
            )
        row, column = (
            int(random.integers(size - self.window_px, endpoint=True)) for size in (height, width)
        )
        return cropped(sample, row, column, self.window_px, self.window_px)


def cropped(sample: Sample, row: int, column: int, height_px: int, width_px: int) -> Sample:
    """The part of a sample from a first row and column on.

    Raises:
        SampleError: If the part reaches beyond the window, or an array is not on its grid.
    """
    height, width = np.shape(sample["image"])[-2:]
    if not (0 <= row < row + height_px <= height and 0 <= column < column + width_px <= width):
        raise SampleError(
            f"rows {row} to {row + height_px} and columns {column} to {column + width_px} are not "
            f"a part of a window of {height} x {width}"
        )
    part = (..., slice(row, row + height_px), slice(column, column + width_px))
    rasters = {key: raster[part] for key, raster in rasters_of(sample).items()}
    return _bounded({**_placed(sample, Affine.translation(column, row)), **rasters})


def rasters_of(sample: Sample, *, least_axes: int = 2) -> dict[str, Any]:
    """The arrays of a sample that are on the grid of its image.

    Args:
        sample: One sample, or a batch.
        least_axes: Axes from which an array is taken for a raster; 3 for a batch.

    Returns:
        By key, each (..., h, w); arrays with fewer axes are none.

    Raises:
        SampleError: If an array with as many axes is not on the grid of the image: to leave it
            where it was, as boxes in pixels for instance, would make it wrong.
    """
    shape_hw = np.shape(sample["image"])[-2:]
    found = {key: value for key, value in sample.items() if getattr(value, "ndim", 0) >= least_axes}
    for key, value in found.items():
        if value.shape[-2:] != shape_hw:
            raise SampleError(
                f"{key!r} of shape {tuple(value.shape)} is not on the grid of the image, "
                f"{shape_hw[0]} x {shape_hw[1]} pixels: resample it first, or add it afterwards"
            )
    return found


def validity(sample: Sample, key: str, *, batched: bool = False) -> Any:  # noqa: ANN401  array or tensor
    """Where a raster of a sample shows something.

    Args:
        sample: One sample, or a batch, with its ``valid``.
        key: The raster; its own validity, ``sar_valid`` of ``sar``, goes before that of the image.
        batched: Whether it is a batch.

    Returns:
        Of a shape that broadcasts to the raster. What a series says of a raster without dates is
        where any of them shows something.
    """
    raster, valid = sample[key], sample.get(f"{key}_valid", sample["valid"])
    axes = 2 + batched
    if valid.ndim > axes and raster.ndim != valid.ndim + 1:
        valid = valid.any(axes - 2)
    if valid.ndim > axes:
        return valid[..., None, :, :]
    return valid[(slice(None),) * batched + (None,) * (raster.ndim - valid.ndim)]


def _placed(sample: Sample, back: Affine) -> Sample:
    """The sample with the ``transform`` of changed pixels.

    Args:
        sample: Before the change.
        back: From (column, row) after the change to (column, row) before, of pixel corners.
    """
    if "transform" not in sample:
        return dict(sample)
    before = np.asarray(sample["transform"], float)
    return {**sample, "transform": np.array(Affine(*before[:6]) @ back)[: len(before)]}


def _bounded(sample: Sample) -> Sample:
    """The sample with the ``bounds`` that its image and ``transform`` say."""
    if "bounds" not in sample:
        return sample
    height, width = np.shape(sample["image"])[-2:]
    placed = Affine(*sample["transform"][:6])
    xy = np.array([placed @ (column, row) for column in (0, width) for row in (0, height)])
    bounds = np.array(sample["bounds"], float)
    bounds[[0, 3]], bounds[[1, 4]] = xy.min(axis=0), xy.max(axis=0)
    bounds[[2, 5]] = np.hypot(placed.a, placed.b), np.hypot(placed.d, placed.e)
    return {**sample, "bounds": bounds}


def _interpolated(
    raster: Float[np.ndarray, "*c h w"], places: Float[np.ndarray, "2 h w"]
) -> Float[np.ndarray, "*c h w"]:
    """Values between pixel centres, at places in rows and columns; beyond the raster is 0."""
    planes = raster.reshape(-1, *raster.shape[-2:])
    smooth = [ndimage.map_coordinates(p, places, order=1, mode="grid-constant") for p in planes]
    return np.stack(smooth).reshape(raster.shape)


def _unknown(key: str, dtype: np.dtype) -> np.ndarray:
    """What a raster holds where there is no image."""
    if key not in LABELS:
        return np.zeros((), dtype)
    if dtype.kind == "f":
        return np.array(np.nan, dtype)
    return np.array(UNNUMBERED if key == "instances" else IGNORE, dtype)
