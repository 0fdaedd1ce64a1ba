"""Outlines of COCO's annotations: polygons, masks and boxes, hundreds of thousands at once."""

from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import shapely

from gv_data.errors import VectorError
from gv_data.labels.run_lengths import Runs


class Shapes:
    """Outlines gathered as plain numbers, made polygons together.

    Attributes:
        runs: Masks by the number of their annotation.
    """

    def __init__(self, count: int) -> None:
        """Begin with none.

        Args:
            count: Number of annotations.
        """
        self._count = count
        self._xy = array("d")
        self._ring_sizes = array("q")
        self._ring_owners = array("q")
        self._boxes = array("d")
        self._box_owners = array("q")
        self.runs: dict[int, Runs] = {}

    def add(self, number: int, one: Mapping[str, Any], shape_hw: tuple[int, int] | None) -> None:
        """Take the outline of an annotation: its segmentation, or else its box.

        Args:
            number: Position of the annotation.
            one: The annotation.
            shape_hw: Rows and columns of its image, where they are known.

        Raises:
            VectorError: If there is neither, or it is damaged; the rest of a sentence.
        """
        try:
            match one.get("segmentation"):
                case {"counts": list() | str() as counts, "size": [int(height), int(width)]}:
                    if shape_hw is not None and (height, width) != shape_hw:
                        raise VectorError(
                            f"has a mask of {width} x {height} px, its image {shape_hw[1]} x "
                            f"{shape_hw[0]}"
                        )
                    self.runs[number] = Runs(counts, (height, width))
                case None | []:
                    self._add_box(number, one.get("bbox"))
                case [*rings] if all(isinstance(ring, list) for ring in rings):
                    self._add_rings(number, rings)
                case _:
                    raise VectorError("has a segmentation that is neither polygons nor a mask")
        except TypeError as error:
            raise VectorError("holds what is no number") from error

    def _add_rings(self, number: int, rings: Sequence[list[float]]) -> None:
        for ring in rings:
            if len(ring) % 2:
                raise VectorError(f"has a polygon of {len(ring)} numbers: they come in pairs")
            if len(ring) >= 6:  # less has no area
                self._xy.extend(ring)
                self._ring_sizes.append(len(ring) // 2)
                self._ring_owners.append(number)

    def _add_box(self, number: int, box: object) -> None:
        if not isinstance(box, list) or len(box) != 4:
            raise VectorError("has neither a segmentation nor a bbox of four numbers")
        self._boxes.extend(box)
        self._box_owners.append(number)

    def infinite(self) -> int | None:
        """The first annotation with a number that is not finite."""
        boxes = np.repeat(np.array(self._box_owners, np.int64), 4)
        corners = np.repeat(
            np.array(self._ring_owners, np.int64), 2 * np.array(self._ring_sizes, np.int64)
        )
        wrong = [
            owners[~np.isfinite(np.array(numbers))]
            for owners, numbers in ((boxes, self._boxes), (corners, self._xy))
        ]
        return min(np.concatenate(wrong).tolist(), default=None)

    def geometries(self) -> np.ndarray:
        """A polygon an annotation; None for masks and for what has no area."""
        found = np.full(self._count, None, object)
        boxes = np.array(self._boxes).reshape(-1, 4)
        left, top, width, height = boxes.T
        drawn = (width > 0) & (height > 0)
        owners = np.array(self._box_owners, np.int64)
        found[owners[drawn]] = shapely.box(left, top, left + width, top + height)[drawn]
        owners = np.array(self._ring_owners, np.int64)
        xy = np.array(self._xy).reshape(-1, 2)
        ring = np.repeat(np.arange(len(owners)), np.array(self._ring_sizes, np.int64))
        rings = np.atleast_1d(np.asarray(shapely.linearrings(xy, indices=ring), object))
        polygons = np.atleast_1d(np.asarray(shapely.polygons(rings), object))
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        for start, stop in pairwise([*starts.tolist(), len(owners)]):
            parts = polygons[start:stop]
            # pieces of one object may lie over each other
            whole = parts[0] if len(parts) == 1 else shapely.union_all(shapely.make_valid(parts))
            found[owners[start]] = whole
        return found
