"""``gv-data cog``: rasters made Cloud Optimized GeoTIFFs."""

import argparse
import glob
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gv_data.errors import DataError
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console, Meter, duration
from gv_data.terminal.options import Parser, UsageError
from gv_data.terminal.wording import refused_lines

if TYPE_CHECKING:
    from gv_data.rasters.conversion import Averaging, Codec, Conversion

CODECS = ("deflate", "lzw", "zstd", "jpeg", "webp")
AVERAGINGS = ("nearest", "average", "mode", "bilinear", "cubic", "lanczos")

FILES_SHOWN = 5
"""New files that are named at the end; ``--verbose`` and ``--json`` name all."""


def _cog_options(parser: Parser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="rasters of any kind")
    parser.add_argument(
        "--out", type=Path, help="folder of the COGs; without it x.jpg becomes x.tif beside it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--compress",
        choices=CODECS,
        help="codec; jpeg and webp make small files and change values a little (default: deflate; "
        "a COG of any codec is left alone)",
    )
    parser.add_argument(
        "--resampling",
        choices=AVERAGINGS,
        help="how overviews are made (default: average, nearest for classes with colours)",
    )


def _cog(values: argparse.Namespace, console: Console) -> int:
    """Convert files; 3 when some could not be."""
    targets = _targets(values.files, values.out)
    codec = values.compress or "deflate"
    console.say(f"cog        {len(targets):,} files -> {values.out or 'beside them'}, {codec}")
    started = time.monotonic()
    made, already, refused = _convert_all(targets, values, console)
    if not made and not already:
        reasons = "\n".join(reason for _, reason in refused)
        raise DataError(reasons if len(refused) == 1 else f"no file became a COG\n{reasons}")
    for conversion in made:
        if conversion.lost:
            tags = ", ".join(conversion.lost)
            console.warn("tags", f"{conversion.target} does not keep the tags of domain {tags}")
    lines = [
        *_made_lines(made, console),
        *([f"already    {len(already):,} files are COGs and stay as they are"] if already else []),
        *refused_lines([reason for _, reason in refused], "could not be converted", console),
        f"took       {duration(time.monotonic() - started)}",
    ]
    answer = {
        "converted": [_figures(conversion) for conversion in made],
        "already": already,
        "refused": [{"file": file, "reason": reason} for file, reason in refused],
    }
    console.answer(answer, "\n".join(lines))
    return 3 if refused else 0


def _targets(sources: list[Path], out: Path | None) -> dict[Path, Path]:
    """The COG of each file; two files never share one."""
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: COGs are written into a folder")
    targets: dict[Path, Path] = {}
    origin: dict[Path, Path] = {}
    for source in sources:
        target = (out or source.parent) / f"{source.stem}.tif"
        if origin.setdefault(target, source) != source:
            raise UsageError(f"{origin[target]} and {source} would both become {target}")
        targets[source] = target
    return targets


def _convert_all(
    targets: dict[Path, Path], values: argparse.Namespace, console: Console
) -> tuple[list["Conversion"], list[Path], list[tuple[Path, str]]]:
    """What became COGs, what was one already, what could not be converted and why."""
    from gv_data.atomic import sweep
    from gv_data.measure.worker import Worker

    made: list[Conversion] = []
    already: list[Path] = []
    refused: list[tuple[Path, str]] = []
    settings = (values.compress, values.resampling, values.overwrite)
    try:
        with (
            Worker() as worker,
            console.working("converting", total=len(targets), unit="files") as meter,
        ):
            for source, target in targets.items():
                beat = partial(_beat, meter, target)
                try:
                    conversion = worker.call(beat, _converted, source, target, *settings)
                except (DataError, OSError) as error:
                    refused.append((source, str(error)))
                else:
                    if conversion is None:
                        already.append(source)
                    else:
                        made.append(conversion)
                meter.advance(1, source.name)
    finally:
        for folder in {target.parent for target in targets.values()}:
            sweep(folder)  # what a killed worker left
    return made, already, refused


def _converted(
    source: Path,
    target: Path,
    compress: "Codec | None",
    resampling: "Averaging | None",
    overwrite: bool,
) -> "Conversion | None":
    """Convert a file that is no COG yet."""
    from gv_data.rasters.conversion import convert, is_cog

    if is_cog(source, compress):
        return None
    codec = compress or "deflate"
    return convert(source, target, compress=codec, resampling=resampling, overwrite=overwrite)


def _beat(meter: Meter, target: Path) -> None:
    """Show that a long conversion goes on."""
    parts = target.parent.glob(f".{glob.escape(target.stem)}.*.part*")
    sizes = [part.stat().st_size for part in parts if part.exists()]
    meter.advance(0, f"{target.name} {sum(sizes) / 1e6:,.0f} MB")


def _made_lines(made: list["Conversion"], console: Console) -> list[str]:
    """What was written, and how far it is what it was."""
    if not made:
        return []
    before, after = (
        sum(sizes) / 1e6
        for sizes in zip(*((m.source_bytes, m.target_bytes) for m in made), strict=True)
    )
    worst = max(made, key=lambda conversion: conversion.change.rms).change
    same = "every pixel compared"
    if worst.rms:
        same += f": up to {worst.largest:.0f} of 255 off, {worst.rms:.1f} root mean square at worst"
    lines = [f"converted  {len(made):,} files, {before:,.1f} MB -> {after:,.1f} MB, {same}"]
    shown = made if console.verbose else made[:FILES_SHOWN]
    lines += [f"           {conversion.target}" for conversion in shown]
    return lines + ["           ... (--verbose names them all)"] * (len(shown) < len(made))


def _figures(conversion: "Conversion") -> dict[str, object]:
    return {
        "source": conversion.source,
        "target": conversion.target,
        "bytes_before": conversion.source_bytes,
        "bytes_after": conversion.target_bytes,
        "rms_error": conversion.change.rms,
        "largest_error": conversion.change.largest,
        "lost_tags": conversion.lost,
    }


COMMAND = Command(
    "Make rasters Cloud Optimized GeoTIFFs: in blocks, with overviews, compared before they count.",
    (
        "gv-data cog flights/*.jp2 --out cogs",
        "gv-data cog ortho.tif --out cogs --compress jpeg",
    ),
    _cog_options,
    _cog,
)
