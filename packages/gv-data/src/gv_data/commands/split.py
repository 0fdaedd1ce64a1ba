"""``gv-data split``: training, validation and test images, or folds, that share no ground."""

import argparse
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from gv_data.commands import views
from gv_data.terminal.caller import next_command
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, UsageError, positive
from gv_data.terminal.wording import aligned

if TYPE_CHECKING:
    from gv_data.catalog import Catalog
    from gv_data.splitting.split import Split
    from gv_data.splitting.split_figures import Mix

KINDS_SHOWN = 8
"""Kinds of images that are listed; ``--verbose`` and ``--json`` list all."""

SIGNIFICANT = 0.05
"""Smaller chances are said to be none."""


def _options(parser: Parser) -> None:
    views.add_options(parser)
    parser.add_argument(
        "--by",
        default="block",
        metavar="WAY",
        help="block: squares of ground, the images between them left out; label: images one by "
        "one, as many of each label in each part; or what images must have in common to stay "
        "together: place, a column of your own, or SQL such as year(start)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides among ways that are as good")
    parts = parser.add_argument_group("parts")
    parts.add_argument("--val", type=float, help="share of the images (default: 0.15)")
    parts.add_argument("--test", type=float, help="share of the images (default: 0.15)")
    parts.add_argument(
        "--folds", type=positive, metavar="N", help="parts of one size, numbered from 0"
    )
    parts.add_argument(
        "--stratify",
        metavar="SQL",
        help="a column of which each part gets its share of every value, numbers by quantiles "
        "(default: label, where images have one)",
    )
    blocks = parser.add_argument_group("blocks")
    blocks.add_argument("--block-m", type=float, help="side in metres (default: by the images)")
    blocks.add_argument(
        "--buffer-m",
        type=float,
        help="least distance between parts in metres (default: 10, for folds 0)",
    )
    written = parser.add_argument_group("what is written")
    written.add_argument("--column", help="another column than split, or fold for folds")
    written.add_argument("--overwrite", action="store_true", help="replace what images have in it")
    written.add_argument("--allow-overlap", action="store_true", help="also if parts share ground")


def _split(values: argparse.Namespace, console: Console) -> None:
    """Write the column and say what the parts hold."""
    if values.by != "block" and (values.block_m is not None or values.buffer_m is not None):
        raise UsageError("gv-data split: --block-m and --buffer-m are for --by block")
    if values.folds is not None and (values.val is not None or values.test is not None):
        raise UsageError("gv-data split: --folds have one size, without --val and --test")
    view = views.chosen(values)
    console.say(f"split      {view.said} by {values.by}, seed {values.seed}")
    split = _planned(values, view)
    following = _next(values, split)
    answer = {
        "catalog": values.catalog,
        "where": values.where,
        "column": split.column,
        "by": values.by,
        "how": split.how,
        "seed": values.seed,
        "images": len(split.ids),
        "left_out": split.left_out,
        "parts": [asdict(portion) for portion in split.portions],
        "mixes": [asdict(mix) for mix in split.mixes],
        "shared": [asdict(shared) for shared in split.shared],
        "next": following,
    }
    lines = [
        f"parts      {split.how}",
        *_table(split),
        *(line for mix in split.mixes for line in _mix_lines(mix, split, console)),
        *_left_out(split),
        f"check      {_checked(split)}",
        f"column     {split.column} of {values.catalog}",
        f"next       {following}",
    ]
    split.write(overwrite=values.overwrite, allow_overlap=values.allow_overlap)
    console.answer(answer, "\n".join(lines))


def _planned(values: argparse.Namespace, view: "Catalog") -> "Split":
    """The split that the options mean."""
    from gv_data.splitting.splits import Shares, split_blocks, split_groups, split_images

    if values.folds is None:
        val, test = (0.15 if share is None else share for share in (values.val, values.test))
        shares = Shares.holdout(val, test)
    else:
        shares = Shares.folds(values.folds)
    match values.by:
        case "block":
            return split_blocks(
                view,
                shares,
                block_m=values.block_m,
                buffer_m=values.buffer_m,
                stratify=values.stratify,
                seed=values.seed,
                column=values.column,
            )
        case "label":
            way = split_images
        case by:
            way = partial(split_groups, by=by)
    return way(
        view, shares=shares, stratify=values.stratify, seed=values.seed, column=values.column
    )


def _table(split: "Split") -> list[str]:
    """Images, labels and ground of each part, and how far they are from what was asked."""
    labels = any(portion.labels for portion in split.portions)
    rows: list[tuple[str, ...]] = [
        ("part", "asked", "images", "share", "off", *(("labels", "share") * labels), "km2")
    ]
    rows += [
        (
            str(portion.name),
            f"{portion.wanted:.1%}",
            f"{portion.images:,}",
            f"{portion.share:.1%}",
            f"{100 * (portion.share - portion.wanted):+.1f}",
            *((f"{portion.labels:,}", f"{portion.labels_share:.1%}") if labels else ()),
            f"{portion.ground_m2 / 1e6:.3g}" if portion.ground_m2 else "-",
        )
        for portion in split.portions
    ]
    return ["", *aligned(rows), ""]


def _mix_lines(mix: "Mix", split: "Split", console: Console) -> list[str]:
    """The share of each kind in each part, the frequent ones first."""
    together = [sum(amounts) for amounts in zip(*mix.amounts, strict=True)]
    order = sorted(range(len(mix.names)), key=lambda kind: -together[kind])
    shown = order if console.verbose else order[:KINDS_SHOWN]
    shares = mix.shares
    rows: list[tuple[str, ...]] = [(mix.of, "all", *map(str, split.shares.names))]
    rows += [
        (
            mix.names[kind],
            f"{together[kind] / sum(together):.1%}",
            *(f"{share:.1%}" for share in shares[:, kind]),
        )
        for kind in shown
    ]
    rows.append(("divergence, bits", "", *(f"{bits:.4f}" for bits in mix.divergence)))
    lines = aligned(rows)
    if len(shown) < len(order):
        lines.insert(-1, f"... and {len(order) - len(shown)} more (--verbose lists them all)")
    if mix.chi2 is not None:
        chance = "no more than by chance" if mix.chi2.p > SIGNIFICANT else "more than by chance"
        lines.append(
            f"chi squared {mix.chi2.value:.1f} with {mix.chi2.freedom} degrees of freedom, "
            f"p {mix.chi2.p:.2g}: parts differ {chance}"
        )
    return [*lines, ""]


def _left_out(split: "Split") -> list[str]:
    if not split.left_out:
        return []
    return [f"left out   {split.left_out:,} images that are too near to another part"]


def _checked(split: "Split") -> str:
    """What the check of the ground found."""
    from gv_data.splitting.shared_ground import finding

    found = finding(split.shared)
    if found:
        return found.text
    if split.unplaced:
        return f"{split.unplaced:,} images have no georeference; the others share no ground"
    return f"no ground is shared between {split.shares.said}"


def _next(values: argparse.Namespace, split: "Split") -> str:
    """Training on the first part, where there are labels and one to validate on; else a look."""
    column, names = split.column, split.shares.names
    if isinstance(names[0], int):
        train, val = f"{column} <> 0", f"{column} = 0"
    else:
        train, val = f"{column} = 'train'", f"{column} = '{names[1]}'"
    catalog = str(values.catalog)
    if not all(portion.labels for portion in split.portions[:2]):
        return next_command("gv-data", "info", catalog, "--where", val)
    return next_command(
        "train", "buildings", "--data", catalog, "--train-where", train, "--val-where", val
    )


COMMAND = Command(
    "Split images into training, validation and test, or into folds, that share no ground.",
    (
        "gv-data split catalogs/town",
        "gv-data split catalogs/town --by block --block-m 500 --buffer-m 50 --val 0.2 --test 0",
        "gv-data split catalogs/fields --by place --stratify crop",
        'gv-data split catalogs/fields --by "year(start)" --folds 5 --column year_fold',
    ),
    _options,
    _split,
)
