"""Which images are alike, so that each part of a split gets its share of every kind.

Kinds are the values of a column where they are few; numbers of many values are cut at quantiles.
Beside its kind an image has ground of classes, if its labels are counted.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError

KINDS_MAX = 256
"""More than the classes that an image can have (`gv_data.sources`)."""

NUMBERS_MAX = 10
"""Numbers of more values than this are cut at quantiles."""

QUANTILES = 5


@dataclass(frozen=True, eq=False)
class Strata:
    """The kind of each image of a view.

    Attributes:
        column: What decides the kind: a column, or SQL over columns.
        names: Of the kinds.
        kind: Position in ``names`` of each image's kind, in the order of ids.
    """

    column: str
    names: tuple[str, ...]
    kind: Int[np.ndarray, " n"]

    @property
    def members(self) -> Float[np.ndarray, "n k"]:
        """1 where an image is of a kind, else 0."""
        return np.eye(len(self.names))[self.kind]


@dataclass(frozen=True, eq=False)
class Classes:
    """How much labelled ground of each class images show.

    Attributes:
        names: Of the classes.
        amounts: Square metres on each image, in the order of ids; pixels without georeference.
    """

    names: tuple[str, ...]
    amounts: Float[np.ndarray, "n k"]


def classes_of(view: Catalog) -> Classes | None:
    """The classes on the images of a view; None if there are fewer than two, or none is counted."""
    table = view.sql(
        "SELECT id, class, sum(coalesce(area_m2, pixels)) AS amount FROM images "
        "LEFT JOIN labels USING (id) GROUP BY ALL"
    )
    (ids, image), (names, number) = (
        np.unique(table[name].fill_null("").to_numpy().astype(str), return_inverse=True)
        for name in ("id", "class")
    )
    amounts = np.zeros((len(ids), len(names)))
    amounts[image, number] = table["amount"].fill_null(0).to_numpy()
    occurring = amounts.any(axis=0)
    if np.count_nonzero(occurring) < 2:
        return None
    return Classes(tuple(names[occurring].tolist()), amounts[:, occurring])


def strata(view: Catalog, column: str) -> Strata:
    """Sort the images of a view into kinds.

    Args:
        view: What to sort.
        column: A column of ``images``, or SQL over its columns: text or numbers. Where it is
            missing, images are of a kind of their own.

    Raises:
        CatalogError: If there is no such column, or its values are of no use here.
    """
    table = view.sql(f"SELECT (\n{column}\n) AS value FROM images ORDER BY id")
    values = table["value"].combine_chunks()
    kind = values.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        if len(values.unique()) > NUMBERS_MAX:
            numbers = values.cast(pa.float64(), safe=False).fill_null(np.nan)
            return _quantiles(column, numbers.to_numpy(zero_copy_only=False))
    elif not (pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise CatalogError(
            f"{column} holds {kind}; images are sorted into kinds by text or numbers, such as the "
            "year() of a time"
        )
    texts = values.cast(pa.string()).fill_null("(none)").to_numpy(zero_copy_only=False).astype(str)
    names, positions = np.unique(texts, return_inverse=True)
    if len(names) > KINDS_MAX:
        raise CatalogError(
            f"{column} has {len(names):,} values in {len(texts):,} images, too many kinds to give "
            f"each part its share of; at most {KINDS_MAX} are possible\n"
            "  try: --stratify with a column of fewer values, or of numbers such as objects"
        )
    return Strata(column, tuple(names.tolist()), positions)


def _quantiles(column: str, values: Float[np.ndarray, " n"]) -> Strata:
    """Kinds of about the same size; equal values are of one kind."""
    known = np.isfinite(values)
    edges = np.quantile(values[known], np.arange(1, QUANTILES) / QUANTILES, method="lower")
    places = np.searchsorted(np.unique(edges), values, side="left")
    places[~known] = QUANTILES
    held, kind = np.unique(places, return_inverse=True)
    names = []
    for place in held:
        if place == QUANTILES:
            names.append("(none)")
            continue
        low, high = (f"{end(values[places == place]):g}" for end in (np.min, np.max))
        names.append(low if low == high else f"{low} to {high}")
    return Strata(column, tuple(names), kind)
