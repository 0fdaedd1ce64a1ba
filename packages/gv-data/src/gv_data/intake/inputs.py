"""Files as people have them: images in folders, and others beside them under the same names."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gv_data.errors import CatalogError
from gv_data.locations import beyond, files_below, is_file, is_folder, is_remote

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""Endings of files that are taken for images when a folder is indexed."""

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders that say which split their images belong to."""

_ENDS = ("_mask", "_masks", "_label", "_labels", "_gt", "_lbl", "_target")
_STARTS = ("mask_", "label_", "gt_")


@dataclass(frozen=True)
class Input:
    """One image.

    Attributes:
        file: Where it is, links resolved.
        given: Where it was found; its names count, as a link's target may be called after a hash.
        name: Its file, without ending, with the folders between it and the given one.
        id: What it is called in the catalog.
    """

    file: Path
    given: Path
    name: str
    id: str

    @property
    def label(self) -> str:
        """The folder it lies in, which names the class where folders are classes."""
        return self.given.parent.name

    @property
    def split(self) -> str | None:
        """The split that a folder above it is called after."""
        folders = Path(self.name).parts[:-1]
        return next((SPLITS[f.lower()] for f in folders if f.lower() in SPLITS), None)


def find(given: Sequence[Path], place: str | None) -> list[Input]:
    """All images of some files and folders, in order; hidden files are left out.

    Args:
        given: Files, and folders that are searched.
        place: Begins the ids.

    Raises:
        CatalogError: If something is missing or there is no image.
    """
    found: dict[Path, Input] = {}
    for file, linked, name in _files(given):
        found.setdefault(file, Input(file, linked, name, f"{place}/{name}" if place else name))
    if not found:
        raise CatalogError(
            f"no image in {', '.join(map(str, given))}; looked for {', '.join(SUFFIXES)}"
        )
    return list(found.values())


class Beside:
    """Rasters of a folder, found by the names of the images they belong to.

    A raster has the name of its image, in the same folders below the given one or in any; words
    such as ``_mask`` at the end and endings of files do not matter.
    """

    def __init__(self, folder: Path) -> None:
        """List a folder.

        Raises:
            CatalogError: If it is no folder or holds no raster.
        """
        if not is_folder(folder):
            raise CatalogError(f"{folder} is no folder of rasters named as the images")
        self.folder = folder
        self._by_name: dict[str, Path] = {}
        self._by_stem: dict[str, Path | None] = {}
        for file, _, name in _files([folder]):
            folders, _, stem = name.rpartition("/")
            stem = _plain(stem)
            self._by_name[f"{folders}/{stem}"] = file
            self._by_stem[stem] = None if stem in self._by_stem else file
        if not self._by_name:
            raise CatalogError(f"no raster in {folder}; looked for {', '.join(SUFFIXES)}")

    def of(self, image: Input) -> Path | None:
        """The raster beside an image, or None.

        Raises:
            CatalogError: If several could be meant.
        """
        folders, _, stem = image.name.rpartition("/")
        for name in (stem, _plain(stem)):
            if file := self._by_name.get(f"{folders}/{name}"):
                return file
            if name in self._by_stem:
                if file := self._by_stem[name]:
                    return file
                raise CatalogError(f"several rasters in {self.folder} could belong to {image.file}")
        return None


def _plain(stem: str) -> str:
    for end in _ENDS:
        stem = stem.removesuffix(end)
    for start in _STARTS:
        stem = stem.removeprefix(start)
    return stem


def _files(given: Sequence[Path]) -> Iterator[tuple[Path, Path, str]]:
    """Rasters, links resolved and as they were found, and their names; sorted."""
    for one in given:
        if is_file(one):
            yield one.resolve(), _absolute(one), one.stem
            continue
        if not is_folder(one):
            raise CatalogError(f"{one} is not there")
        for file in files_below(one):
            inside = PurePosixPath(beyond(file, one))
            hidden = any(name.startswith(".") for name in inside.parts)
            if inside.suffix.lower() in SUFFIXES and not hidden:
                yield file.resolve(), _absolute(file), str(inside.with_suffix(""))


def _absolute(file: Path) -> Path:
    """The whole path of a file, links kept."""
    return file if is_remote(file) else Path(os.path.abspath(file))  # noqa: PTH100  drops ".." too
