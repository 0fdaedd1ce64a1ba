"""The pictures a training leaves: what goes in, what comes out, how it went.

Photographs are JPEG, plots PNG, each at most 1 MB, made to be read at a width of 800 pixels. None
needs a display; each carries its legend.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from gv_data.pictures.sheet import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Sheet,
    hatch,
    no_data_sample,
    outline,
    points,
    shortened,
    stretch,
)
from gv_train.metric_log import Row, parse_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEADS = (YELLOW, SKY, PURPLE, ORANGE)
_HIT, _MISSED, _FALSE = BLUE, YELLOW, VERMILION
_MARGIN, _GAP = 24, 10


def batch(
    path: Path,
    images: Float[np.ndarray, "n c h w"],
    outlines: Mapping[str, Shaped[np.ndarray, "n h w"]],
    *,
    gsd_m: float,
    valid: Bool[np.ndarray, "n h w"] | None = None,
    captions: Sequence[str] = (),
    rgb: Sequence[int] | None = None,
    bands: Sequence[str] = (),
    title: str = "Training windows",
) -> None:
    """Show up to 16 windows as the network sees them, with their labels.

    Args:
        path: JPEG file to write.
        images: One window or more, in physical units.
        outlines: Masks by the name of their head, above 0.5 inside: the first is drawn as
            outlines, up to three more as tints.
        gsd_m: Metres on the ground a pixel.
        valid: Where there is data, by default where all bands are finite; the rest is hatched.
        captions: Place and id of each window.
        rgb: Indices of the bands shown as red, green and blue; by default the first three, or the
            first alone if there are fewer.
        bands: Names of all bands, for the line under the title.
        title: What the picture shows.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    images, masks = np.asarray(images)[:16], {k: np.asarray(v)[:16] for k, v in outlines.items()}
    first, others = list(masks)[:1], list(masks)[1:]
    rgb = _shown_bands(images, rgb)
    known = _known(images, valid)
    pixels = stretch(images, known, rgb)
    columns = int(np.ceil(np.sqrt(len(images))))
    rows = int(np.ceil(len(images) / columns))
    size = (1600 - 2 * _MARGIN + _GAP) / columns - _GAP
    top, line = 96, 38
    height = top + rows * (size + line) + 64
    sheet = Sheet(1600, int(height))
    sheet.text(_MARGIN, 16, title, 32, weight="bold")
    sheet.text(_MARGIN, 58, _stretch_note(len(images), rgb, bands), 20, colour=PALE)
    for index, window in enumerate(pixels):
        x = _MARGIN + index % columns * (size + _GAP)
        y = top + index // columns * (size + line)
        for name, colour in zip(others, _HEADS[1:], strict=False):
            _tint(window, masks[name][index] > 0.5, colour, 0.5)
        axes = sheet.photograph(x, y, size, window)
        if first:
            outline(axes, masks[first[0]][index], _HEADS[0])
        if index < len(captions):
            sheet.text(x, y + size + 6, shortened(captions[index], size, 20), 20)
    samples = [
        *(Line2D([], [], color=_HEADS[0], linewidth=4, label=name) for name in first),
        *(Patch(color=c, label=name) for name, c in zip(others, _HEADS[1:], strict=False)),
    ]
    sheet.legend(_MARGIN, height - 46, [*samples, *no_data_sample(known)])
    sheet.scale_bar(1600 - _MARGIN, height - 34, size / 2, gsd_m * images.shape[3] / size)
    sheet.save(path)


class _Choice(NamedTuple):
    """A window to show and why."""

    name: str
    index: int
    score: str


def predictions(
    path: Path,
    images: Float[np.ndarray, "n c h w"],
    truth: Shaped[np.ndarray, "n h w"],
    probability: Float[np.ndarray, "n h w"],
    *,
    gsd_m: float,
    valid: Bool[np.ndarray, "n h w"] | None = None,
    captions: Sequence[str] = (),
    rgb: Sequence[int] | None = None,
    threshold: float = 0.5,
    title: str = "Predictions on validation windows",
) -> None:
    """Show image, truth, probability and error of the best, median and worst windows by IoU.

    Args:
        path: JPEG file to write.
        images: Windows in physical units.
        truth: Above 0.5 where the class is.
        probability: In [0, 1].
        gsd_m: Metres on the ground a pixel.
        valid: Where there is data and the truth is known; the rest is hatched and not counted.
        captions: Place and id of each window.
        rgb: Indices of the bands shown as red, green and blue.
        threshold: Probability from which a pixel counts as predicted.
        title: What the picture shows.
    """
    from matplotlib.patches import Patch

    images, chance = np.asarray(images), np.nan_to_num(np.asarray(probability))
    known = _known(images, valid)
    true, found = (np.asarray(truth) > 0.5) & known, (chance >= threshold) & known
    chosen = _best_median_worst(true, found)
    order = [choice.index for choice in chosen]
    pixels = stretch(images[order], known[order], _shown_bands(images, rgb))
    heat = hatch(_viridis(chance[order]), known[order])
    name_width, top = 236, 112
    size = (1600 - 2 * _MARGIN - name_width + _GAP) / 4 - _GAP
    height = top + len(chosen) * (size + _GAP) + 60
    sheet = Sheet(1600, int(height))
    sheet.text(_MARGIN, 16, title, 32, weight="bold")
    lefts = [_MARGIN + name_width + column * (size + _GAP) for column in range(4)]
    for x, heading in zip(lefts, ["image", "truth", "probability", "error"], strict=True):
        sheet.text(x, top - 34, heading, 24)
    for row, choice in enumerate(chosen):
        y = top + row * (size + _GAP)
        here = choice.index
        sheet.text(_MARGIN, y + 6, choice.name, 28, weight="bold")
        sheet.text(_MARGIN, y + 44, choice.score, 22)
        if here < len(captions):
            words = [shortened(word, name_width - 8, 18) for word in captions[here].split(" ", 1)]
            sheet.text(_MARGIN, y + 80, "\n".join(words), 18, colour=PALE)
        errors = 0.25 + 0.6 * pixels[row].mean(axis=2, keepdims=True).repeat(3, axis=2)
        _tint(errors, true[here] & found[here], _HIT, 0.85)
        _tint(errors, true[here] & ~found[here], _MISSED, 0.85)
        _tint(errors, found[here] & ~true[here], _FALSE, 0.85)
        sheet.photograph(lefts[0], y, size, pixels[row])
        outline(sheet.photograph(lefts[1], y, size, pixels[row]), true[here], YELLOW, width=2)
        sheet.photograph(lefts[2], y, size, heat[row])
        sheet.photograph(lefts[3], y, size, errors)
    _probability_key(sheet, lefts[2] + 160, top - 30, size - 160)
    samples = [
        Patch(color=colour, label=label)
        for colour, label in [(_HIT, "hit"), (_MISSED, "missed"), (_FALSE, "false")]
    ]
    sheet.legend(lefts[0], height - 42, [*samples, *no_data_sample(known[order])])
    sheet.scale_bar(1600 - _MARGIN, height - 30, size / 2, gsd_m * images.shape[3] / size)
    sheet.save(path)


def curves(
    path: Path,
    rows: Sequence[Row],
    *,
    monitor: str = "val_iou",
    mode: Literal["max", "min"] = "max",
    metrics: Sequence[str] = (),
    title: str = "Training curves",
) -> None:
    """Plot loss, the monitored metrics and the learning rate over the steps of all attempts.

    Args:
        path: PNG file to write.
        rows: From ``metric_log.read``.
        monitor: Metric that chose the best checkpoint, as it was logged.
        mode: Whether greater or smaller values of it are better.
        metrics: Names without split to plot beside loss and the monitored one.
        title: What the picture shows.
    """
    from matplotlib.ticker import StrMethodFormatter

    split, _, watched = parse_name(monitor)
    names = list(dict.fromkeys(["loss", watched, *metrics]))
    rates = sorted({row.name for row in rows if row.name.startswith("lr")})
    names = [name for name in names if any(row.name == name for row in rows)]
    top, panel, gap, below = 84, 300, 34, 140
    height = top + max(len(names), 1) * (panel + gap) + (below if rates else -gap) + 66
    sheet = Sheet(1200, height)
    sheet.text(_MARGIN, 16, title, 30, weight="bold")
    last = max((row.step for row in rows), default=0)
    drawn = []
    for index, name in enumerate(names):
        axes = sheet.panel(120, top + index * (panel + gap), 1200 - 120 - _MARGIN, panel)
        _plot_metric(axes, [row for row in rows if row.name == name], name)
        drawn.append(axes)
    if rates:
        y = top + len(names) * (panel + gap)
        axes = sheet.panel(120, y, 1200 - 120 - _MARGIN, below)
        for name in rates:
            steps, values = _series([row for row in rows if row.name == name])
            axes.plot(steps, values, color=INK, linewidth=1.6)
        axes.set_ylabel("learning rate", fontsize=points(20), color=INK)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.offsetText.set_fontsize(points(16))
        drawn.append(axes)
    if not drawn:
        sheet.text(600, height / 2, "no metrics yet", 24, colour=PALE, ha="center")
    scores = [row for row in rows if (row.split, row.name) == (split, watched)]
    scores = [row for row in scores if np.isfinite(row.value)]
    best = (max if mode == "max" else min)(scores, key=lambda row: row.value, default=None)
    for axes in drawn:
        axes.set_xlim(0, max(last, 1) * 1.01)
        axes.grid(color="#E4E4E4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=axes is drawn[-1])
        for step in _resumed(rows):
            axes.axvline(step, color=PALE, linewidth=1.2, linestyle=(0, (2, 3)))
        if best is not None:
            axes.axvline(best.step, color=VERMILION, linewidth=1, alpha=0.5)
    if best is not None:
        drawn[names.index(watched)].plot(
            [best.step], [best.value], "*", color=VERMILION, markersize=18, mec="white", zorder=5
        )
        note = f"best {monitor} {best.value:.3f} at step {best.step:,}"
        sheet.text(1200 - _MARGIN, 22, note, 22, colour=VERMILION, ha="right")
    if drawn:
        drawn[-1].set_xlabel("optimizer steps", fontsize=points(20), color=INK)
        drawn[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        _curve_key(sheet, resumed=bool(_resumed(rows)))
    sheet.save(path)


def _plot_metric(axes: "Axes", rows: Sequence[Row], name: str) -> None:
    """Train thin, validation thick; single steps paler than means over epochs."""
    train = [row for row in rows if row.split != "val"]
    means = [row for row in train if row.kind == "epoch"]
    steps = [row for row in train if row.kind == "step"]
    axes.plot(*_series(steps), color=BLUE, linewidth=1, alpha=0.45 if means else 0.8)
    axes.plot(*_series(means), color=BLUE, linewidth=1.6)
    validation = [row for row in rows if row.split == "val"]
    axes.plot(*_series(validation), color=VERMILION, linewidth=3.2, marker="o", markersize=5)
    axes.set_ylabel(name.replace("_", " "), fontsize=points(20), color=INK)


def _series(rows: Sequence[Row]) -> tuple[list[int], list[float]]:
    """Steps and values in the order of steps, so that resumed parts join."""
    ordered = sorted(rows, key=lambda row: row.step)
    return [row.step for row in ordered], [row.value for row in ordered]


def _resumed(rows: Sequence[Row]) -> list[int]:
    """Last steps before each later attempt."""
    first: dict[int, int] = {}
    for row in rows:
        first[row.attempt] = min(row.step, first.get(row.attempt, row.step))
    return [step - 1 for attempt, step in sorted(first.items()) if attempt > 1]


def _curve_key(sheet: Sheet, *, resumed: bool) -> None:
    from matplotlib.lines import Line2D

    samples = [
        Line2D([], [], color=BLUE, linewidth=1.6, label="train"),
        Line2D([], [], color=VERMILION, linewidth=3.2, marker="o", label="validation"),
    ]
    if resumed:
        samples.append(Line2D([], [], color=PALE, linestyle=(0, (2, 3)), label="resumed"))
    sheet.legend(120, 56, samples)


def _best_median_worst(
    true: Bool[np.ndarray, "n h w"], found: Bool[np.ndarray, "n h w"]
) -> list[_Choice]:
    """At most eight windows, the best first; empty ones only if nothing else is there."""
    either = (true | found).sum(axis=(1, 2))
    iou = (true & found).sum(axis=(1, 2)) / np.maximum(either, 1)
    ranked = [int(index) for index in np.argsort(-iou, kind="stable") if either[index]]
    count, middle = len(ranked), len(ranked) // 2
    if count == 0:
        return [_Choice("empty", index, "no truth, no hit") for index in range(min(len(iou), 8))]
    if count > 8:
        groups = dict.fromkeys(range(3), "best") | dict.fromkeys((middle - 1, middle), "median")
        groups |= dict.fromkeys(range(count - 3, count), "worst")
    else:
        groups = dict.fromkeys(range(count), "") | {middle: "median", count - 1: "worst", 0: "best"}
    return [
        _Choice(name, ranked[place], f"IoU {iou[ranked[place]]:.2f}, {place + 1} of {count}")
        for place, name in sorted(groups.items())
    ]


def _probability_key(sheet: Sheet, x: float, y: float, width: float) -> None:
    """The colours of 0 to 1."""
    ramp = np.linspace(0, 1, 256)[None, :]
    axes = sheet.panel(x + 16, y, width - 32, 18)
    axes.imshow(_viridis(ramp[None])[0], aspect="auto")
    axes.set_axis_off()
    sheet.text(x, y - 2, "0", 20)
    sheet.text(x + width, y - 2, "1", 20, ha="right")


def _viridis(values: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w 3"]:
    from matplotlib import colormaps

    return colormaps["viridis"](values)[..., :3]


def _tint(
    pixels: Float[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"], colour: str, share: float
) -> None:
    """Mix a share of a colour into some pixels, in place."""
    from matplotlib.colors import to_rgb

    pixels[where] = (1 - share) * pixels[where] + share * np.array(to_rgb(colour))


def _known(
    images: Float[np.ndarray, "n c h w"], valid: Bool[np.ndarray, "n h w"] | None
) -> Bool[np.ndarray, "n h w"]:
    finite = np.isfinite(images).all(axis=1)
    return finite if valid is None else finite & np.asarray(valid, dtype=bool)[: len(images)]


def _shown_bands(images: Float[np.ndarray, "n c h w"], rgb: Sequence[int] | None) -> Sequence[int]:
    if rgb is not None:
        return rgb
    return (0, 1, 2) if images.shape[1] >= 3 else (0, 0, 0)


def _stretch_note(count: int, rgb: Sequence[int], bands: Sequence[str]) -> str:
    names = [bands[band] if bands else f"band {band + 1}" for band in dict.fromkeys(rgb)]
    shown = f"{', '.join(names)} as red, green, blue" if len(names) == 3 else names[0]
    return f"{count} windows; {shown}, each stretched to 2-98 %"
