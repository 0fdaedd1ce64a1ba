"""``gv-data info``: what a catalog, or a part of it, holds."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from gv_data.commands import views
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.wording import aligned, crs_name, span

if TYPE_CHECKING:
    from gv_data.pictures.summary import Values


def _info(values: argparse.Namespace, console: Console) -> None:
    """Say what a catalog, or a part of it, holds."""
    from gv_data.pictures.summary import summarise

    view = views.chosen(values)
    summary = summarise(view)
    rows: list[tuple[str, ...]] = [("place", "split", "images", "labels", "GSD m")]
    rows += [
        (
            group.place or "-",
            group.split or "-",
            f"{group.images:,}",
            f"{group.labels:,}",
            span(group.gsd_m) if group.gsd_m else "-",
        )
        for group in summary.groups
    ]
    ground = f"{summary.ground_m2 / 1e6:.3g} km2"
    if summary.overlapping:
        ground += f" ({summary.footprints_m2 / 1e6:.3g} km2 of footprints, which overlap)"
    lines = [
        f"{view.said}   {summary.images:,} images, {summary.labels:,} labels on them",
        "",
        *aligned(rows),
        "",
        f"CRS        {', '.join(f'{crs_name(crs)} ({n:,})' for crs, n in summary.crs.items())}",
        f"ground     {ground}",
        *(line for kind in summary.values for line in _values_lines(kind)),
        f"columns    {', '.join(summary.columns)}",
    ]
    counts = {"images": summary.images, "labels": summary.labels, "gsd_m": summary.gsd_m}
    answer = {"catalog": values.catalog, "where": values.where, **counts, **asdict(summary)}
    console.answer(answer, "\n".join(lines))


def _values_lines(values: "Values") -> list[str]:
    figures = zip(values.bands, values.mean, values.std, strict=True)
    means = [f"{band} {mean:.4g} ± {std:.3g}" for band, mean, std in figures]
    of = "" if values.asset == "image" else f"{values.asset} of "
    return [f"values     {', '.join(means)}   (mean ± std, {of}{values.images:,} images)"]


COMMAND = Command(
    "Say what a catalog holds: images, places, ground, labels, values.",
    (
        "gv-data info catalogs/town",
        "gv-data info catalogs/town --where \"place = 'village' AND gsd_m < 0.3\"",
    ),
    views.add_options,
    _info,
)
