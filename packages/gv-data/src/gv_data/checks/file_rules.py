"""Rules about the files of a catalog: are they there, the ones that were indexed, and whole?"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from gv_data.catalog import Catalog
from gv_data.engine import mapped
from gv_data.errors import DataError
from gv_data.findings import Findings, counted, some
from gv_data.images import Image
from gv_data.rasters.raster import Scene
from gv_data.store.stamps import Stamp, stamps


class Track(Protocol):
    """Wraps things as they are done, with a word for what is done and their number."""

    def __call__[T](self, items: Iterable[T], said: str, total: int) -> Iterable[T]:
        """Show how far the work is."""
        ...


def untracked[T](items: Iterable[T], said: str, total: int) -> Iterable[T]:
    """Show nothing."""
    del said, total
    return items


def look_for_changes(findings: Findings, *views: Catalog, times: bool = False) -> list[str]:
    """Files should be those that were indexed: their grid and statistics are in the catalog.

    Args:
        findings: Where to note it.
        views: The images.
        times: Whether files of the same size that were written since are told too, though they may
            only have been copied.

    Returns:
        The files that are told.
    """
    findings.apply("changed-images")
    recorded: dict[str, Stamp] = {}
    for view in views:
        table = view.sql("SELECT bytes, modified_ns FROM images ORDER BY id")
        known = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        recorded |= dict(zip(view.images.files, known, strict=True))
    seen = stamps(recorded)
    resized, rewritten = [], []
    for file, (size, time) in recorded.items():
        now = seen[file]  # what is gone is told where images are opened
        if now and size is not None and now[0] != size:
            resized.append(file)
        elif times and now and size is not None and now[1] != time:
            rewritten.append(file)
    of = f"of {counted(len(recorded), 'image')}"
    if resized:
        findings.warn(
            "changed-images",
            f"{len(resized):,} {of} have another size than when they were indexed "
            f"({_named(resized)})",
            "gv-data index ... --update: footprints, statistics and labels were taken from the old "
            "files",
            resized,
        )
    if rewritten:
        findings.warn(
            "changed-images",
            f"{len(rewritten):,} {of} were written since they were indexed, or copied without "
            f"their times ({_named(rewritten)})",
            "gv-data index ... --update reads them again",
            rewritten,
        )
    return resized + rewritten


@dataclass(frozen=True)
class Missing:
    """What a catalog names and nobody finds.

    Attributes:
        images: Ids whose image is gone.
        others: Ids whose labels or further rasters are gone.
        files: Number of different files that are named.
    """

    images: frozenset[str]
    others: frozenset[str]
    files: int


def look_for_missing(findings: Findings, view: Catalog) -> Missing:
    """All files that a catalog names should be there."""
    findings.apply("missing-files")
    said = {"image": "", "vectors": "labels of ", "labelled_area": "labelled areas of "}
    names = [*said, "mask", *_assets(view)]
    files = {name: view.images.named(name) for name in names}
    seen = stamps(file for named in files.values() for file in named if file)
    missing: dict[str, set[str]] = {}
    for name, named in files.items():
        ids = [id for id, file in zip(view.images.ids, named, strict=True) if _gone(file, seen)]
        if ids:
            missing[name] = set(ids)
            gone = list(dict.fromkeys(file for file in named if file and _gone(file, seen)))
            beside = "" if name == "image" else " with their labels and rasters"
            findings.fail(
                "missing-files",
                f"{said.get(name, f'{name} of ')}{len(ids):,} of {counted(len(view), 'image')} "
                f"are gone ({_named(gone)})",
                f"fetch them again; or gv-data index the images{beside} where they are now; or "
                f"gv-data remove {view.path} --where {_those(ids)}",
                ids,
            )
    images = missing.pop("image", set())
    return Missing(frozenset(images), frozenset().union(*missing.values()), len(seen))


def look_for_refused(findings: Findings, view: Catalog) -> None:
    """Files that could not be used when they were indexed or measured should not be forgotten."""
    if view.conditions:  # they ask for columns that such a file does not have
        return
    findings.apply("refused-images")
    refused = view.sql("SELECT id, error FROM errors ORDER BY id").to_pylist()
    if refused:
        findings.warn(
            "refused-images",
            f"{counted(len(refused), 'image')} could not be used and are left out: "
            f"{refused[0]['error']}",
            f'gv-data sql {view.path} "SELECT id, error FROM errors" lists them; then gv-data '
            "index ... --update",
            [row["id"] for row in refused],
        )


def open_files(
    findings: Findings, view: Catalog, chosen: Collection[str], *, workers: int, track: Track
) -> None:
    """Open images: what was cut, or is no image any more, is found by that.

    Args:
        findings: Where to note it.
        view: The images.
        chosen: Files as the catalog names them, of which only those of the view are opened.
        workers: Files at once.
        track: Shows progress.
    """
    findings.apply("readable")
    rows = {file: row for row, file in enumerate(view.images.files) if file in chosen}
    images = (view.images[row] for row in rows.values())
    results = (reason for _, reason in mapped(_open, images, workers=workers))
    for reason in filter(None, track(results, "opening", len(rows)) if rows else ()):
        findings.unreadable(reason)


def _open(image: Image) -> str:
    """Why an image cannot be opened; empty if it can."""
    try:
        Scene(image.path, driver=image.driver, source=image.source).close()
    except (DataError, OSError) as error:
        return str(error)
    return ""


def _assets(view: Catalog) -> list[str]:
    """Columns of further rasters."""
    return sorted(set(chain.from_iterable(source.assets for source in view.sources)))


def _gone(file: str | None, seen: dict[str, Stamp | None]) -> bool:
    return file is not None and seen[file] is None


def _named(files: Sequence[str]) -> str:
    return some([file.rpartition("/")[2] for file in files])


def _those(ids: Sequence[str]) -> str:
    """A condition for a shell that names some images."""
    names = ", ".join("'" + id.replace("'", "''") + "'" for id in ids[:3])
    return f'"id IN ({names}{", ..." if len(ids) > 3 else ""})"'
