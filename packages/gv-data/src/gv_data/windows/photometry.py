"""Random changes of what a sensor saw: another light, calibration, sharpness and noise.

Each is a transform as those of `gv_data.windows.transforms`: a function of a sample of arrays and a
generator. Images are float (..., c, h, w) in physical units, and so are the settings that are not
shares. Labels and ``valid``, (h, w) or (t, h, w) of a series, stay, and so do the zeros where there
is no image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from gv_data.errors import SampleError
from gv_data.windows.dataset import Sample


@dataclass(frozen=True)
class Light:
    """Other exposure, contrast, gamma and colour balance, as another day or camera would give.

    Values are taken relative to the ``white`` of the sensor; where there is no image they stay 0.
    All dates of a series change alike.

    Attributes:
        brightness: Largest shift of all bands together, as a share of ``white``.
        contrast: Largest relative change of the spread about the window's mean.
        colour: Largest relative change of each band by itself.
        gamma: Largest change of the exponent, in its logarithm.
        grey: Chance of a window with its bands mixed towards their mean.
        white: Value of a bright pixel: 255 for bytes, 1 for reflectance.
    """

    brightness: float = 0.25
    contrast: float = 0.4
    colour: float = 0.3
    gamma: float = 0.4
    grey: float = 0.2
    white: float = 255.0

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        image, valid = np.asarray(sample["image"], np.float32) / self.white, _valid(sample)
        if not valid.any():
            return sample
        gains = random.uniform(1 - self.colour, 1 + self.colour, image.shape[-3])
        image = image * gains.astype(np.float32)[:, None, None]
        if random.random() < self.grey:
            mixed = random.uniform(0, 1)
            image = (1 - mixed) * image + mixed * image.mean(axis=-3, keepdims=True)
        spread = 1 + random.uniform(-self.contrast, self.contrast)
        middle = float(image[np.broadcast_to(valid, image.shape)].mean())
        shift = random.uniform(-self.brightness, self.brightness)
        image = (image - middle) * spread + middle + shift
        exponent = float(np.exp(random.uniform(-self.gamma, self.gamma)))
        return _shown(sample, np.clip(image, 0, None) ** exponent * self.white)


@dataclass(frozen=True)
class Calibration:
    """A gain and an offset of each band that are not quite what the calibration says.

    In a series each date has its own. The default gain is what Sentinel-2 has to keep to (ESA,
    Sentinel-2 MSI User Guide: radiometric accuracy under 5 %, goal 3 %).

    Attributes:
        gain: Standard deviation of each gain's logarithm: about its relative error.
        offset: Standard deviation of each offset, in the units of the image.
    """

    gain: float = 0.05
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check(gain=self.gain, offset=self.offset)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        image = sample["image"]
        bands = (*image.shape[:-2], 1, 1)
        gains = np.exp(random.normal(0, self.gain, bands))
        return _shown(sample, image * gains + random.normal(0, self.offset, bands))


@dataclass(frozen=True)
class Blur:
    """A wider point spread: a Gaussian over the valid pixels, all bands alike.

    From one pixel on, stripes four pixels apart keep exp(-(pi * sigma_px)**2 / 8) of their
    contrast: 29 % at one. Pixels without image have no weight, so none are darker beside them.

    Attributes:
        sigma_px: Largest standard deviation in pixels; drawn evenly from 0 on.
    """

    sigma_px: float = 1.0

    def __post_init__(self) -> None:
        _check(sigma_px=self.sigma_px)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        return blurred(sample, random.uniform(0, self.sigma_px))


def blurred(sample: Sample, sigma_px: float) -> Sample:
    """The sample seen through a Gaussian point spread of a standard deviation in pixels."""
    image, valid = sample["image"], _valid(sample)
    seen = _spread(np.where(valid, image, 0), sigma_px)
    weight = _spread(valid.astype(np.float32), sigma_px)
    return _shown(sample, seen / np.where(valid, weight, 1))


@dataclass(frozen=True)
class Noise:
    """Noise of the detector: a floor, and photons that are counted.

    Its variance at a value is floor**2 + shot * value, normal and independent in each pixel and
    band (Foi et al. 2008, doi:10.1109/TIP.2008.2001399). Each window has a share from 0 to 1 of
    these standard deviations, so that clean ones are seen too.

    Attributes:
        floor: Standard deviation without light, in the units of the image.
        shot: Growth of the variance with the value, in the units of the image: a signal-to-noise
            ratio of 100 at reflectance 0.1 from photons alone is a shot of 1e-5.
    """

    floor: float
    shot: float = 0.0

    def __post_init__(self) -> None:
        _check(floor=self.floor, shot=self.shot)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        image = sample["image"]
        deviation = random.random() * np.sqrt(self.floor**2 + self.shot * np.clip(image, 0, None))
        return _shown(sample, image + deviation * random.standard_normal(image.shape))


@dataclass(frozen=True)
class BandDrop:
    """Bands that are missing, so that a network leans on no single one; at least one stays.

    As whole channels are dropped in Tompson et al. 2015 (arXiv:1411.4280), but the others keep
    their physical units. In a series a band is missing on all dates.

    Attributes:
        chance: Of each band to be missing.
        fill: What stands in its place, in the units of the image, one for all bands or one each:
            their means, which a network's normalisation turns into 0, or 0 as where there is no
            image.
    """

    chance: float = 0.1
    fill: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        _check(chance=self.chance)
        if self.chance > 1:
            raise SampleError(f"a chance is at most 1, got {self.chance}")

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change the image of a sample."""
        image = sample["image"]
        bands = image.shape[-3]
        fill = np.asarray(self.fill, image.dtype)
        if fill.shape not in {(), (1,), (bands,)}:
            raise SampleError(f"the image has {bands} bands, fill has {fill.size} values")
        missing = random.random(bands) < self.chance
        missing[random.integers(bands)] &= not missing.all()
        return _shown(sample, np.where(missing[:, None, None], fill[..., None, None], image))


def _shown(sample: Sample, image: Float[np.ndarray, "*t c h w"]) -> Sample:
    """The sample with other values where it has an image, in the type it had."""
    dtype = np.result_type(sample["image"], np.float32)
    return {**sample, "image": np.where(_valid(sample), image, 0).astype(dtype, copy=False)}


def _valid(sample: Sample) -> Bool[np.ndarray, "*t 1 h w"]:
    """Where the image shows something, for all its bands."""
    return sample["valid"][..., None, :, :]


def _spread(raster: Float[np.ndarray, "*c h w"], sigma_px: float) -> Float[np.ndarray, "*c h w"]:
    return ndimage.gaussian_filter(raster, sigma_px, mode="constant", axes=(-2, -1))


def _check(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 <= value < np.inf:
            raise SampleError(f"{name} is at least 0, got {value}")
