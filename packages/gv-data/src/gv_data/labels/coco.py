"""COCO JSON: objects in the pixels of images, a file parsed once and its objects found by image.

The format is that of object detection and segmentation at https://cocodataset.org/#format-data.
Coordinates are columns and rows of pixel corners, rows downwards: the box [0, 0, 1, 1] is the first
pixel. A region that is marked as a crowd holds objects that nobody told apart.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from gv_data.errors import VectorError
from gv_data.labels.coco_shapes import Shapes
from gv_data.locations import explained, is_file

_MARKS = (b'"images"', b'"annotations"')
"""What a COCO file holds and a GeoJSON file does not; seen before anything is parsed."""

_KEPT = 4
"""Files kept once parsed."""


@dataclass(frozen=True)
class Entry:
    """An image of the file.

    Attributes:
        name: Its ``file_name``, which may have folders.
        shape_hw: Its rows and columns; None where the file does not say.
    """

    name: str
    shape_hw: tuple[int, int] | None


@dataclass(frozen=True, order=True)
class Match:
    """The entry that means an image.

    Attributes:
        folders: How many folders both share; -1 where the entry is in another folder.
        ending: Whether the names end alike.
        number: Position of the entry.
    """

    folders: int
    ending: bool
    number: int = field(compare=False)


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of an image.

    Attributes:
        geometries: Polygons in pixels of the image; None for one without area.
        categories: Position of each one's name in `Coco.categories`.
        numbers: Position of each in the file's list of annotations.
        crowd: Which are regions of objects that nobody told apart.
    """

    geometries: np.ndarray
    categories: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]


class Coco:
    """A file that was parsed.

    Attributes:
        path: The file.
        categories: Names in the order of their ids.
        entries: The images it names.
    """

    def __init__(self, path: Path, data: Mapping[str, Any]) -> None:
        """Take what the JSON holds; `read` is the usual way to get here.

        Raises:
            VectorError: If it is not what the format says.
        """
        self.path = path
        number_of, self.categories = self._named(data.get("categories"))
        entry_of, self.entries = self._listed(data.get("images"))
        self._by_stem: dict[str, list[int]] = {}
        for number, entry in enumerate(self.entries):
            self._by_stem.setdefault(PurePosixPath(entry.name).stem, []).append(number)
        annotations = data.get("annotations")
        if not isinstance(annotations, list):
            raise VectorError(f"{path} has no list of annotations")
        owners = np.empty(len(annotations), np.int64)
        self._categories = np.empty(len(annotations), np.int64)
        self._crowd = np.empty(len(annotations), bool)
        shapes = Shapes(len(annotations))
        for n, one in enumerate(annotations):
            match one:
                case {"image_id": int() | str() as image, "category_id": int(category)}:
                    pass
                case _:
                    raise self._wrong(n, one, "has no image_id, or no number as category_id")
            if category not in number_of:
                raise self._wrong(
                    n, one, f"is of category {category}, which the file does not name"
                )
            owners[n] = entry_of.get(image, -1)  # of an image that the file does not name
            self._categories[n] = number_of[category]
            self._crowd[n] = bool(one.get("iscrowd"))
            try:
                shapes.add(n, one, self.entries[owners[n]].shape_hw if owners[n] >= 0 else None)
            except VectorError as error:
                raise self._wrong(n, one, str(error)) from error
        infinite = shapes.infinite()
        if infinite is not None:
            raise self._wrong(infinite, annotations[infinite], "holds what is no finite number")
        self._geometries, self._runs = shapes.geometries(), shapes.runs
        self._owners = owners
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], np.arange(len(self.entries) + 1))

    def _named(self, categories: object) -> tuple[dict[int, int], tuple[str, ...]]:
        """Position of each category's name by its id, and the names."""
        by_id: dict[int, str] = {}
        for one in categories if isinstance(categories, list) else []:
            match one:
                case {"id": int(id), "name": str(name)} if name and id not in by_id:
                    by_id[id] = name
                case _:
                    raise VectorError(
                        f"{self.path}: a category has an id of its own and a name, got "
                        f"{str(one)[:100]}"
                    )
        names = tuple(dict.fromkeys(by_id[id] for id in sorted(by_id)))
        return {id: names.index(name) for id, name in by_id.items()}, names

    def _listed(self, images: object) -> tuple[dict[int | str, int], tuple[Entry, ...]]:
        """Position of each image by its id, and the images."""
        by_id: dict[int | str, int] = {}
        entries: list[Entry] = []
        for one in images if isinstance(images, list) else []:
            match one:
                case {"id": int() | str() as id, "file_name": str(name)} if (
                    name and id not in by_id
                ):
                    size = one.get("height"), one.get("width")
                case _:
                    raise VectorError(
                        f"{self.path}: an image has an id of its own and a file_name, got "
                        f"{str(one)[:100]}"
                    )
            by_id[id] = len(entries)
            height, width = (self._pixels(name, side) for side in size)
            shape_hw = (height, width) if height and width else None
            entries.append(Entry(name.replace("\\", "/"), shape_hw))
        return by_id, tuple(entries)

    def _pixels(self, name: str, side: object) -> int | None:
        """The height or width that the file says an image has; None where it says none above 0."""
        match side:
            case None:
                return None
            case bool():
                pass
            case int():
                return max(side, 0) or None
            case float() if side.is_integer():
                return max(int(side), 0) or None
        raise VectorError(
            f"{self.path}: the height and width of an image are whole numbers of pixels, those of "
            f"{name} hold {str(side)[:100]!r}: write numbers, or leave both out"
        )

    def _wrong(self, n: int, one: object, reason: str) -> VectorError:
        id = one.get("id") if isinstance(one, dict) else None
        said = f"annotation {n + 1}" if id is None else f"the annotation with the id {id}"
        return VectorError(f"{self.path}: {said} {reason}")

    def __len__(self) -> int:
        return len(self._order)

    def numbered(self, wanted: Sequence[str]) -> tuple[tuple[str, ...], Int[np.ndarray, " k"]]:
        """Classes and their numbers.

        Args:
            wanted: Names of categories; none: all.

        Returns:
            The names, and the number of each category from 1, 0 for those not wanted.

        Raises:
            VectorError: If no category has a name that is wanted.
        """
        names = tuple(wanted) or self.categories
        number = {name: position for position, name in enumerate(names, 1)}
        if self.categories and not number.keys() & {*self.categories}:
            raise VectorError(
                f"{self.path} has none of the classes {', '.join(names)}; its categories are: "
                f"{', '.join(self.categories)}"
            )
        return names, np.array([number.get(name, 0) for name in self.categories], np.int64)

    def count(self, wanted: Sequence[str]) -> Int[np.ndarray, " e"]:
        """Number of the objects of wanted classes on each entry, without crowds."""
        _, number_of = self.numbered(wanted)
        used = (number_of[self._categories] > 0) & ~self._crowd & (self._owners >= 0)
        return np.bincount(self._owners[used], minlength=len(self.entries))

    def entry_of(self, image: Path) -> Match | None:
        """The entry that means an image, or None.

        Among those of its name, endings aside, the one with most of the image's folders; if none
        has its folders, one of another folder.

        Raises:
            VectorError: If several could be meant.
        """
        above = image.parent.parts
        found: list[Match] = []
        for number in self._by_stem.get(image.stem, []):
            name = PurePosixPath(self.entries[number].name)
            folders = name.parent.parts
            shared = len(folders) if folders == above[len(above) - len(folders) :] else -1
            found.append(Match(shared, name.suffix == image.suffix, number))
        if not found:
            return None
        first, *others = sorted(found, reverse=True)
        if others and others[0] == first:
            names = " or ".join(self.entries[one.number].name for one in (first, others[0]))
            raise VectorError(f"{image} could be {names} of {self.path}")
        return first

    def objects(self, entry: int) -> Objects:
        """The objects of an entry, in the order of the file.

        Raises:
            VectorError: If a run-length encoded one is damaged.
        """
        numbers = self._order[self._starts[entry] : self._starts[entry + 1]]
        geometries = self._geometries[numbers]
        for n, number in enumerate(numbers.tolist()):
            if number in self._runs:
                try:
                    geometries[n] = self._runs[number].outline()
                except VectorError as error:
                    raise self._wrong(number, None, str(error)) from error
        return Objects(geometries, self._categories[numbers], numbers, self._crowd[numbers])


def recognised(path: Path) -> bool:
    """Whether a file is COCO JSON, by what it holds.

    Raises:
        VectorError: If it seems to be, and cannot be parsed.
    """
    if path.suffix.lower() != ".json" or not is_file(path):
        return False
    with explained(path):
        text = path.read_bytes()
    if not all(mark in text for mark in _MARKS) or b'"FeatureCollection"' in text[:4096]:
        return False
    read(path)
    return True


def read(path: Path) -> Coco:
    """Read a file, or take what this process has read of it as it is now.

    Raises:
        VectorError: If it cannot be read or is not what the format says.
    """
    try:
        with explained(path):
            seen = path.stat()
    except OSError as error:
        raise VectorError(f"{path} cannot be read: {error}") from error
    with _READING:  # one thread parses, the others wait for it
        return _parsed(path, (seen.st_size, seen.st_mtime_ns))


_READING = threading.Lock()


@lru_cache(maxsize=_KEPT)
def _parsed(path: Path, stamp: tuple[int, int]) -> Coco:
    del stamp  # what was parsed is of a file of this size and time
    try:
        with explained(path):
            data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        raise VectorError(f"{path} cannot be read as JSON: {reason}") from error
    if not isinstance(data, dict):
        raise VectorError(f"{path} is no COCO file: it holds no object")
    return Coco(path, data)
