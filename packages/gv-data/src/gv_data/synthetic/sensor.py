"""The camera: point spread, noise, tone curve, eight bits."""

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray as Array
from scipy import ndimage

from gv_data.synthetic.setting import Setting

_LEVELS = 4095  # a camera's 12 bits


def expose(
    light: Float[Array, "c h w"], setting: Setting, rng: np.random.Generator
) -> UInt8[Array, "c h w"]:
    """Take the picture.

    Args:
        light: Radiance relative to that of a white level surface in the sun.
        setting: Blur, noise, gains and tone curve of the camera.
        rng: Source of the noise.

    Returns:
        Digital numbers 0 to 255, exposed so that the 99.5th percentile of the visible light is
        at 235.
    """
    seen = np.stack(
        [ndimage.gaussian_filter(band, setting.blur_px, truncate=3.0) for band in light]
    )
    seen *= np.array(setting.balance, np.float32)[: len(seen), None, None]
    white = np.quantile(seen[:3, ::7, ::7], 0.995)
    seen *= np.float32((235 / 255) ** setting.gamma / max(float(white), 1e-6))
    shot = np.sqrt(np.clip(seen, 0.02, 1))  # photons count as their square root
    seen += shot * np.float32(setting.noise) * rng.standard_normal(seen.shape, np.float32)
    levels = np.clip(seen * np.float32(_LEVELS), 0, _LEVELS).astype(np.uint16)
    tone = np.rint(255 * (np.arange(_LEVELS + 1) / _LEVELS) ** (1 / setting.gamma)).astype(np.uint8)
    return tone[levels]
