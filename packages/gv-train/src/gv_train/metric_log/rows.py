"""What a metric log holds: values of one moment, and confusion matrices."""

import time
import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int64

from gv_train.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Version of the format, in the first row of each file; readers refuse greater ones."""
NAME_BYTES = 256
"""Longest name in UTF-8: HDF5 can only append names of a fixed width while others read."""

Split = Literal["train", "val", "test", ""]
"""Part of the data that a value is about; empty if the name does not say."""
Kind = Literal["step", "epoch", "start"]
"""Value of one step, value over an epoch, or a row that opens a file."""


class Row(NamedTuple):
    """One value at one moment; ``pandas.DataFrame(rows)`` gives a table.

    Attributes:
        attempt: Attempt of the run, from 1.
        time: Seconds since 1970, UTC.
        step: Optimizer steps finished.
        epoch: Epoch it belongs to, from 0.
        split: Part of the data.
        kind: Whether it is about a step or an epoch.
        name: What was measured, without split and kind, such as ``loss``.
        value: The number, exact; may be NaN.
    """

    attempt: int
    time: float
    step: int
    epoch: int
    split: Split
    kind: Kind
    name: str
    value: float


class Matrix(NamedTuple):
    """A confusion matrix at one moment.

    Attributes:
        attempt: Attempt of the run, from 1.
        time: Seconds since 1970, UTC.
        step: Optimizer steps finished.
        epoch: Epoch it belongs to, from 0.
        split: Part of the data.
        name: Of which head or task.
        classes: Names of the classes, in the order of rows and columns.
        counts: How often a class (row) was taken for a class (column).
    """

    attempt: int
    time: float
    step: int
    epoch: int
    split: Split
    name: str
    classes: tuple[str, ...]
    counts: Int64[np.ndarray, "k k"]


def parse_name(name: str) -> tuple[Split, Kind, str]:
    """Split a logged name into its parts.

    Args:
        name: ``<split>_<name>``, ``<split>/<name>`` or ``<name>``, where Lightning may have added
            ``_step`` or ``_epoch``.

    Returns:
        Split, kind and bare name. Without a suffix, values of val and test are about an epoch,
        others about a step.

    Examples:
        >>> parse_name("val_iou"), parse_name("train_loss_epoch"), parse_name("lr")
        (('val', 'epoch', 'iou'), ('train', 'epoch', 'loss'), ('', 'step', 'lr'))
    """
    split: Split = ""
    for known in get_args(Split):
        if known and name.startswith((f"{known}_", f"{known}/")):
            split, name = known, name[len(known) + 1 :]
    kind: Kind = "epoch" if split in ("val", "test") else "step"
    for suffix in ("step", "epoch"):
        if name.endswith(f"_{suffix}"):
            kind, name = suffix, name.removesuffix(f"_{suffix}")
    return split, kind, name


def check_name(name: str) -> None:
    """Refuse a name that one of the formats could not give back.

    Args:
        name: Of a metric, a matrix or a class.

    Raises:
        ValueError: If it is empty, too long, or has control characters such as line ends.
    """
    controls = {"Cc", "Cs"} & {unicodedata.category(character) for character in name}
    if not name or controls or len(name.encode()) > NAME_BYTES:
        raise ValueError(
            f"a name must fit in a line of 1 to {NAME_BYTES} bytes of UTF-8 without control "
            f"characters, got {name!r}"
        )


def start_rows(attempt: int, from_step: int) -> list[Row]:
    """The rows that open a file.

    Args:
        attempt: Attempt of the run, from 1.
        from_step: Optimizer steps that the checkpoint it started from had finished.
    """
    now = time.time()
    return [
        Row(attempt, now, from_step, 0, "", "start", "format", FORMAT),
        Row(attempt, now, from_step, 0, "", "start", "from_step", from_step),
    ]


def check_format(version: float, where: object) -> None:
    """Refuse what a newer version wrote.

    Args:
        version: Version of the format, as the first row says it.
        where: The file, for the error.

    Raises:
        RunError: If it is greater than this version reads.
    """
    if version > FORMAT:
        raise RunError(
            f"{where} has format {version:g} but this version reads up to {FORMAT}: update gv-train"
        )


def rows_schema(*, coded: bool) -> "pa.Schema":
    """Columns of rows.

    Args:
        coded: Whether words are dictionary codes, as they are handed to users, or plain strings,
            as they lie in files.
    """
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string()) if coded else pa.string()
    types = [pa.int32(), pa.float64(), pa.int64(), pa.int32(), words, words, words, pa.float64()]
    return pa.schema(list(zip(Row._fields, types, strict=True)))


def matrices_schema() -> "pa.Schema":
    """Columns of matrices."""
    import pyarrow as pa

    types = [pa.int32(), pa.float64(), pa.int64(), pa.int32(), pa.string(), pa.string()]
    types += [pa.list_(pa.string()), pa.list_(pa.list_(pa.int64()))]
    return pa.schema(list(zip(Matrix._fields, types, strict=True)))
