"""What labels say of the pixels of a grid, be they polygons or a mask beside the image."""

from collections.abc import Hashable
from typing import Any

import numpy as np

from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.labels import masks
from gv_data.labels.labels import Labels, Truth
from gv_data.labels.masks import ClassTable
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import IGNORE, Source


class Truths:
    """The labels of images: files of polygons are read once, masks stay open."""

    def __init__(self, scenes: OpenScenes) -> None:
        """Begin with no file read.

        Args:
            scenes: Keeps masks open.
        """
        self._scenes = scenes
        self._labels: dict[Hashable, Labels] = {}
        self._tables: dict[Source, ClassTable] = {}

    def labels(self, image: Image) -> Labels:
        """The polygons of an image.

        Raises:
            VectorError: If it has none or they cannot be read.
        """
        key = image.label_files
        if key not in self._labels:
            self._labels[key] = Labels.of(image)
        return self._labels[key]

    def on(self, image: Image, grid: Grid) -> Truth | None:
        """Classes and instances on the pixels of a grid; None where an image has neither.

        The regions of a mask have no numbers: there an instance is a class.

        Raises:
            DataError: If the labels cannot be read.
        """
        if image.mask is None:
            return None if image.vectors is None else self.labels(image).on(grid)
        if image.source not in self._tables:
            self._tables[image.source] = ClassTable(image.source)
        with self._scenes.lent(image.mask, None, Source(image.source.root)) as scene:
            values, there = masks.read(scene, image.in_file(grid), grid.shape_hw)
        classes = self._tables[image.source].of(values).astype(np.int32)
        known = there & (classes != IGNORE)
        classes[~known] = 0
        return Truth(classes, classes, known, np.empty(0, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """What was read stays behind when a worker process gets a copy."""
        return {**self.__dict__, "_labels": {}}
