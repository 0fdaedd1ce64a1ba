"""Masks as run lengths, the way COCO writes them, and the outlines of their pixels.

Runs of pixels without and with the object take turns, column by column; as text they are numbers of
six bits a letter (``maskApi.c`` of https://github.com/cocodataset/cocoapi).
"""

import re
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Bool, Int

from gv_data.errors import VectorError
from gv_data.vectors.polygons import polygonize

_TEXT = re.compile("(?:[P-o]{0,9}[0-O])+")
"""Numbers of at most 50 bits; the last letter of each has no bit that says that more follow."""

_PIXELS_MAX = 2**28
"""Largest mask: a larger image would not have been drawn by hand."""


@dataclass(frozen=True)
class Runs:
    """The mask of an object.

    Attributes:
        counts: Lengths of the runs, as numbers or as text.
        shape_hw: Rows and columns of the image.
    """

    counts: list[int] | str
    shape_hw: tuple[int, int]

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """Where the object is.

        Raises:
            VectorError: If the runs are damaged or are not those of so many pixels.
        """
        height, width = self.shape_hw
        if height < 1 or width < 1 or height * width > _PIXELS_MAX:
            raise VectorError(
                f"has a mask of {width} x {height} px: from 1 to {_PIXELS_MAX:,} pixels can be read"
            )
        counts = _numbers(self.counts) if isinstance(self.counts, str) else self._given(self.counts)
        count = height * width
        fits = counts is not None and ((counts >= 0) & (counts <= count)).all()
        if counts is None or not fits or counts.sum() != count:
            raise VectorError(f"has runs that are not those of a mask of {width} x {height} px")
        inside = np.arange(len(counts)) % 2 == 1
        return np.repeat(inside, counts).reshape(width, height).T

    @staticmethod
    def _given(counts: list[int]) -> Int[np.ndarray, " n"] | None:
        """Counts as an array; None if one is no count."""
        if not all(type(count) is int and 0 <= count <= _PIXELS_MAX for count in counts):
            return None
        return np.array(counts, np.int64)

    def outline(self) -> shapely.Geometry | None:
        """Polygons along the edges of the object's pixels; None for a mask of nothing.

        Raises:
            VectorError: If the runs are damaged or are not those of so many pixels.
        """
        mask = self.mask()
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        top, left = rows[0], columns[0]
        shown = mask[top : rows[-1] + 1, left : columns[-1] + 1]
        parts = polygonize(shown, Affine.translation(left, top))
        return parts[0] if len(parts) == 1 else shapely.MultiPolygon(list(parts))


def _numbers(text: str) -> Int[np.ndarray, " n"] | None:
    """The counts that a text stands for; None if it is no such text.

    Five bits a letter, the lowest first; the sixth says that more follow, and the highest of the
    last letter is the sign. From the fourth on a number is added to the one two places before it.
    """
    if not _TEXT.fullmatch(text):
        return None
    letters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters < 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = 5 * (np.arange(len(letters)) - np.repeat(starts, ends - starts + 1))
    counts = np.add.reduceat((letters & 31) << place, starts)
    counts -= ((letters[ends] & 16) > 0) * (32 << place[ends])
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts
