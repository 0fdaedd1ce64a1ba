"""Training, validation and test images, or folds, that share no ground.

Three ways: images one by one, each kind in the same shares; groups of images that stay together,
such as all of a place, a field or a year; and blocks of ground, between which images are left out.
A `Split` holds the assignment and its figures before anything is written.

>>> from gv_data import Catalog, Shares, split_blocks
>>> split = split_blocks(Catalog.open("catalogs/town"), Shares.holdout(0.2, 0))  # doctest: +SKIP
>>> split.shared  # doctest: +SKIP
()
>>> split.write()  # doctest: +SKIP
"""

import numpy as np

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.splitting.allotment import Parts, allot, deal
from gv_data.splitting.ground_blocks import Clusters, Others, blocks_of, choose_side_m, give_way
from gv_data.splitting.shares import Shares
from gv_data.splitting.split import Split
from gv_data.splitting.strata import strata
from gv_data.splitting.survey import Survey

__all__ = ["Shares", "Split", "split_blocks", "split_groups", "split_images"]

BUFFER_M = 10.0
"""Least distance between parts unless another is asked for: a house on the border of two images
would be in both. Folds have none: every image lies beside another fold."""


def split_images(
    view: Catalog,
    shares: Shares | None = None,
    *,
    stratify: str | None = None,
    seed: int = 0,
    column: str | None = None,
) -> Split:
    """Split images one by one, so that each part gets its share of every kind.

    Args:
        view: What to split.
        shares: The parts; None: `Shares.holdout`.
        stratify: What decides the kind of an image: a column or SQL over columns, numbers of many
            values by quantiles. None: ``label`` if there is such a column, else the number of
            labels on the image.
        seed: Decides which images.
        column: The column it is for; None: ``split``, or ``fold`` for folds.

    Raises:
        CatalogError: If the view is empty or too small, or there is no such column.
    """
    survey = Survey.of(view, shares, column)
    survey.require("images", len(survey.ids), "fewer parts")
    kinds = survey.kinds(stratify) or strata(view, "objects")
    parts = deal(kinds.kind, survey.shares, np.random.default_rng(seed))
    return survey.split(parts, kinds, f"images one by one, of each kind of {kinds.column}")


def split_groups(
    view: Catalog,
    by: str = "place",
    shares: Shares | None = None,
    *,
    stratify: str | None = None,
    seed: int = 0,
    column: str | None = None,
) -> Split:
    """Split groups of images that stay together.

    Images, labels and kinds are shared out as nearly as the groups allow, to about a percent; among
    ways that are as near the seed decides.

    Args:
        view: What to split.
        by: What makes a group: a column, or SQL over columns such as ``year(start)``.
        shares: The parts; None: `Shares.holdout`.
        stratify: What decides the kind of an image, as for `split_images`; None: ``label`` if there
            is such a column.
        seed: Decides among ways that are as near.
        column: The column it is for; None: ``split``, or ``fold`` for folds.

    Raises:
        CatalogError: If the view is empty, there is no such column, an image has no value in it, or
            there are fewer groups than parts.
    """
    survey = Survey.of(view, shares, column)
    table = view.sql(f"SELECT (\n{by}\n)::VARCHAR AS value FROM images ORDER BY id")
    values = table["value"].to_pylist()
    without = values.count(None)
    if without:
        raise CatalogError(
            f"{without:,} of {len(values):,} images have no {by}, so nothing says which belong "
            f'together\n  try: --where "({by}) IS NOT NULL", or --by block'
        )
    names, unit = np.unique(np.array(values), return_inverse=True)
    survey.require(
        f"values of {by}", len(names), "fewer parts, --by with another column, or --by block"
    )
    kinds = survey.kinds(stratify)
    rng = np.random.default_rng(seed)
    parts = allot(unit, survey.balance(kinds), survey.shares, rng)
    return survey.split(parts, kinds, f"{len(names):,} values of {by}, each whole")


def split_blocks(
    view: Catalog,
    shares: Shares | None = None,
    *,
    block_m: float | None = None,
    buffer_m: float | None = None,
    stratify: str | None = None,
    seed: int = 0,
    column: str | None = None,
) -> Split:
    """Split blocks of ground; images between blocks of different parts are left out.

    Images that show the same ground, as nested zooms and several dates do, come into one part or
    are left out; images outside the view that have a part already keep it. Of many ways to allot
    the blocks the one is taken that comes nearest to the shares and leaves out few images.

    Args:
        view: What to split; all images are georeferenced, in any CRSs.
        shares: The parts; None: `Shares.holdout`.
        block_m: Side of the blocks in metres on the ground; None chooses it: large, and yet enough
            blocks for the shares.
        buffer_m: Least distance between images of different parts, in metres on the ground; images
            that keep less are left out. None: `BUFFER_M`, for folds 0.
        stratify: What decides the kind of an image, as for `split_images`; None: ``label`` if there
            is such a column.
        seed: Decides which ways are tried.
        column: The column it is for; None: ``split``, or ``fold`` for folds.

    Raises:
        CatalogError: If the view is empty, an image is not georeferenced, there are fewer blocks
            than parts, or a part would be left without images.
    """
    survey = Survey.of(view, shares, column)
    shares, grounds = survey.shares, survey.grounds
    if buffer_m is None:
        buffer_m = BUFFER_M if shares.column == "split" else 0.0
    if (block_m is not None and not 0 < block_m < np.inf) or not 0 <= buffer_m < np.inf:
        raise CatalogError(
            f"blocks are longer than 0 m and the buffer is 0 m or more, got {block_m} and "
            f"{buffer_m}"
        )
    ground = grounds.ground[survey.mine]
    if (ground < 0).any():
        raise CatalogError(
            f"{np.count_nonzero(ground < 0):,} of {len(ground):,} images have no georeference, so "
            "they lie in no block of ground\n"
            '  try: --where "gsd_m > 0", or --by label or a column'
        )
    counted, image = np.unique(ground, return_inverse=True)
    clusters = Clusters.of(grounds, survey.overlapping)
    side_m = block_m or choose_side_m(clusters, counted, shares)
    blocks = blocks_of(clusters, side_m)
    used, unit = np.unique(blocks.block[counted], return_inverse=True)
    said = f"blocks of {side_m:,.15g} m with images"
    survey.require(said, len(used), "fewer parts, a smaller --block-m, or --by with a column")
    near = survey.overlapping
    if buffer_m:
        near = np.concatenate([near, grounds.near(buffer_m)])
    others = Others.of(survey.held, near, survey.overlapping)

    def settle(way: Parts) -> Parts:
        parts = np.full(len(grounds), -1)
        parts[counted] = way[unit]
        return give_way(parts, near, shares, large=blocks.large, others=others)[ground]

    kinds = survey.kinds(stratify)
    parts = allot(
        unit[image],
        survey.balance(kinds),
        shares,
        np.random.default_rng(seed),
        places=blocks.places[used],
        settle=settle,
    )
    empty = [name for n, name in enumerate(shares.names) if not np.any(parts == n)]
    if empty:
        raise CatalogError(
            f"blocks of {side_m:,.15g} m with {buffer_m:g} m between parts leave no image for "
            f"{empty[0]}: all lie too near to another part\n"
            "  try: another --block-m, a smaller --buffer-m, or fewer parts"
        )
    chosen = "" if block_m else " (chosen for the images)"
    how = f"{len(used):,} {said}{chosen}, parts {buffer_m:g} m apart"
    return survey.split(parts, kinds, how)
