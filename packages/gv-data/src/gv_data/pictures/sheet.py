"""A sheet of paper for pictures: panels placed by pixels, photographs, outlines, a scale bar.

Drawn without pyplot and without a display, so that it works in any thread. Colours are those of
Okabe and Ito (jfly.uni-koeln.de/color, 2008), which people with colour blindness tell apart.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped

from gv_data import atomic

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

BLUE, ORANGE, GREEN, YELLOW = "#0072B2", "#E69F00", "#009E73", "#F0E442"
SKY, VERMILION, PURPLE, INK, PALE = "#56B4E9", "#D55E00", "#CC79A7", "#222222", "#8A8A8A"

LARGEST_BYTES = 1_000_000
"""A picture can be mailed and opened on a phone."""

_DPI = 100
_HATCH = (0.93, 0.72)
"""Greys of the stripes over pixels without data."""


class Sheet:
    """A white sheet; positions and sizes are pixels from its top left corner.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        from matplotlib.figure import Figure

        self.width = width
        self.height = height
        self.figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def panel(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Axes at a place, with data coordinates still free."""
        left, bottom = x / self.width, 1 - (y + height) / self.height
        axes = self.figure.add_axes((left, bottom, width / self.width, height / self.height))
        axes.tick_params(labelsize=points(16), colors=INK, length=3)
        return axes

    def photograph(
        self, x: float, y: float, size: float, pixels: Float[np.ndarray, "h w 3"]
    ) -> "Axes":
        """A square panel that shows pixels and no ticks."""
        axes = self.panel(x, y, size, size)
        axes.imshow(pixels, vmin=0, vmax=1)
        axes.set_axis_off()
        return axes

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        *,
        colour: str = INK,
        weight: Literal["normal", "bold"] = "normal",
        ha: Literal["left", "center", "right"] = "left",
        va: Literal["top", "center"] = "top",
    ) -> None:
        """Words whose top left corner, or another side, is at a place; ``size`` in pixels."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            words,
            fontsize=points(size),
            color=colour,
            weight=weight,
            ha=ha,
            va=va,
        )

    def legend(
        self, x: float, y: float, handles: Sequence["Artist"], *, columns: int | None = None
    ) -> None:
        """Labelled samples of colours, the top left corner at a place.

        Args:
            x: Left side in pixels.
            y: Upper side.
            handles: The samples, each with its label.
            columns: How many stand side by side, by default all.
        """
        self.figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(x / self.width, 1 - y / self.height),
            ncols=columns or max(len(handles), 1),
            frameon=False,
            fontsize=points(20),
            labelcolor=INK,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.4,
            columnspacing=1.6,
        )

    def scale_bar(self, right: float, y: float, longest: float, metres_a_pixel: float) -> None:
        """A bar of a round number of metres that ends at ``right``.

        Args:
            right: Right end in pixels.
            y: Middle of the bar.
            longest: Greatest length in pixels.
            metres_a_pixel: Metres on the ground a pixel of the sheet.
        """
        from matplotlib.lines import Line2D

        metres = round_below(longest * metres_a_pixel)
        left = right - metres / metres_a_pixel
        ends = [left / self.width, right / self.width]
        height = 1 - y / self.height
        for artist in (
            Line2D(ends, [height, height], color=INK, linewidth=4, solid_capstyle="butt"),
            *(Line2D([end, end], [height - 0.004, height + 0.004], color=INK) for end in ends),
        ):
            artist.set_transform(self.figure.transFigure)
            self.figure.add_artist(artist)
        label = f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"
        self.text(left - 10, y, label, 20, ha="right", va="center")

    def save(self, path: Path) -> None:
        """Write the sheet in one piece, JPEG or PNG by its name, small enough to be mailed.

        Args:
            path: File to make or replace; ``.jpg`` for photographs, ``.png`` for plots.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        photograph = path.suffix == ".jpg"
        with atomic.replacing(path) as part:
            for quality in (90, 80, 65, 50, 35):
                options = {"quality": quality} if photograph else {"optimize": True}
                canvas.print_figure(part, dpi=_DPI, facecolor="white", pil_kwargs=options)
                if not photograph or part.stat().st_size <= LARGEST_BYTES:
                    break


def points(pixels: float) -> float:
    """Size of a font in points from its size in pixels of the sheet."""
    return pixels * 72 / _DPI


def outline(
    axes: "Axes", mask: Shaped[np.ndarray, "h w"], colour: str, *, width: float = 1.6
) -> None:
    """Draw the border of a mask over a photograph, with a dark rim that shows on any ground.

    Args:
        axes: A photograph's panel.
        mask: Above 0.5 inside.
        colour: Colour of the line.
        width: Width of the line in points.
    """
    from matplotlib.patheffects import Normal, Stroke

    inside = np.pad(np.asarray(mask) > 0.5, 1).astype(float)
    if not inside.any():
        return
    ticks = [np.arange(-1, size + 1) for size in np.shape(mask)]
    drawn = axes.contour(ticks[1], ticks[0], inside, [0.5], colors=colour, linewidths=width)
    drawn.set_path_effects([Stroke(linewidth=width + 1.4, foreground="black", alpha=0.6), Normal()])
    axes.set(xlim=(-0.5, inside.shape[1] - 2.5), ylim=(inside.shape[0] - 2.5, -0.5))


def stretch(
    images: Float[np.ndarray, "n c h w"],
    valid: Bool[np.ndarray, "n h w"],
    rgb: Sequence[int],
) -> Float[np.ndarray, "n h w 3"]:
    """Make images visible: each band from its 2 % to its 98 % value over the batch.

    Args:
        images: Any unit, NaN allowed.
        valid: Where there is data; the rest is hatched.
        rgb: Indices of the bands shown as red, green and blue.

    Returns:
        Colours in [0, 1]; a band without contrast becomes grey.
    """
    shown = np.empty((len(images), *images.shape[2:], 3), dtype=np.float32)
    for channel, band in enumerate(rgb):
        values = np.asarray(images[:, band], dtype=np.float32)
        known = values[valid & np.isfinite(values)]
        low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 0.0)
        scaled = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        shown[..., channel] = np.clip(np.nan_to_num(scaled), 0, 1)
    return hatch(shown, valid)


def hatch(
    colours: Float[np.ndarray, "n h w 3"], valid: Bool[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n h w 3"]:
    """Cover pixels without data with grey diagonal stripes."""
    height, width = valid.shape[1:]
    period = max(height // 16, 4)
    rows, columns = np.indices((height, width))
    stripes = np.where((rows + columns) % period < period / 2, *_HATCH)
    return np.where(valid[..., None], colours, stripes[None, ..., None]).astype(np.float32)


def no_data_sample(known: Bool[np.ndarray, "*n h w"]) -> list["Patch"]:
    """The legend's sample of hatching, if any pixel is hatched."""
    from matplotlib.patches import Patch

    if known.all():
        return []
    return [Patch(facecolor="#EDEDED", edgecolor="#B8B8B8", hatch="////", label="no data")]


def shortened(words: str, width: float, size: float) -> str:
    """Cut words in the middle to fit a width in pixels; a letter is 0.58 of its size wide."""
    most = max(int(width / (0.58 * size)), 8)
    return (
        words if len(words) <= most else f"{words[: most // 2 - 1]}…{words[-(most - most // 2) :]}"
    )


def round_below(number: float) -> float:
    """The greatest of 1, 2 or 5 times a power of ten that is not above a number.

    Examples:
        >>> round_below(73), round_below(0.3), round_below(200)
        (50.0, 0.2, 200.0)
    """
    power = 10.0 ** math.floor(math.log10(number))
    for step in (5, 2):
        if step * power <= number * (1 + 1e-9):
            return round(step * power, 9)
    return round(power, 9)
