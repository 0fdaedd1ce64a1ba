"""A split of a catalog: which image goes to which part, and the column that says so."""

from dataclasses import dataclass

import pyarrow as pa

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.splitting.allotment import Parts
from gv_data.splitting.shared_ground import SharedGround, finding
from gv_data.splitting.shares import Shares
from gv_data.splitting.split_figures import Mix, Portion
from gv_data.store import table_files
from gv_data.store.query import one_statement
from gv_data.store.tables import IMAGES

type Part = str | int
"""Name of a part, or number of a fold."""

type Seen = dict[str, tuple[int | None, Part | None]]
"""By id of each usable image: when its file was changed last, and the part it has."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which image goes to which part; nothing is written until `write`.

    Attributes:
        view: The images that were split.
        column: The column of ``images`` that it is for.
        shares: The parts, and the shares that were asked for.
        ids: The images, in order.
        parts: Position of each image's part in ``shares.names``; -1 if it was left out.
        how: What was kept together, in words.
        portions: What each part holds.
        mixes: How much each part holds of each kind of image, and of each class of ground, where
            there are any.
        unplaced: Number of images without georeference, whose ground cannot be compared.
        shared: The pairs of parts that share ground, images outside the view included.
        seen: The catalog when it was split.
    """

    view: Catalog
    column: str
    shares: Shares
    ids: tuple[str, ...]
    parts: Parts
    how: str
    portions: tuple[Portion, ...]
    mixes: tuple[Mix, ...]
    unplaced: int
    shared: tuple[SharedGround, ...]
    seen: Seen

    @property
    def left_out(self) -> int:
        """Number of images in no part, as they lie too near to another one."""
        return int((self.parts < 0).sum())

    @property
    def of(self) -> dict[str, Part | None]:
        """The part of each image by id; None if it was left out."""
        names = (*self.shares.names, None)  # -1 is the last
        return {id: names[part] for id, part in zip(self.ids, self.parts.tolist(), strict=True)}

    def write(self, *, overwrite: bool = False, allow_overlap: bool = False) -> None:
        """Write the column, under the catalog's lock; other images keep what they have.

        Args:
            overwrite: Whether the images may have a part already, which is replaced.
            allow_overlap: Whether parts may share ground.

        Raises:
            CatalogError: If one of these is so and was not allowed, or the catalog has changed
                since it was split. Nothing is written then.
        """
        found = finding(self.shared)
        if found and not allow_overlap:
            raise CatalogError(
                f"{found.text}\n  try: --by block, which keeps images of the same ground together, "
                "or --allow-overlap"
            )
        kind = part_type(self.shares)
        folder, name, parts = self.view.path, self.column, self.of
        with atomic.locked(folder):
            rows = table_files.Rows.read(folder)
            ids = rows.columns["id"].to_pylist()
            before = (
                rows.columns[name].to_pylist()
                if name in rows.columns.column_names
                else [None] * len(ids)
            )
            times, errors = (rows.columns[n].to_pylist() for n in ("modified_ns", "error"))
            known = zip(ids, times, before, errors, strict=True)
            if self.seen != {id: (time, part) for id, time, part, error in known if error is None}:
                raise CatalogError(
                    f"{folder} has changed since it was split, nothing was written\n"
                    "  try: split it again"
                )
            had = [id for id in self.ids if self.seen[id][1] is not None]
            if had and not overwrite:
                raise CatalogError(
                    f"{len(had):,} of {len(parts):,} images have a {name} already, such as "
                    f"{had[0]} with {self.seen[had[0]][1]}\n"
                    "  try: --overwrite to replace it, or --column NAME to write beside it"
                )
            after = [parts.get(id, part) for id, part in zip(ids, before, strict=True)]
            table_files.write_images(folder, rows.with_column(name, pa.array(after, kind)))


def part_type(shares: Shares) -> pa.DataType:
    """The type of the column that names the parts."""
    return pa.int32() if isinstance(shares.names[0], int) else pa.string()


def check_column(name: str, shares: Shares, schema: pa.Schema) -> None:
    """Refuse a column that a split may not be written to.

    Args:
        name: The column.
        shares: The parts.
        schema: Of ``images``.

    Raises:
        CatalogError: If the column says something else, or SQL could not name it.
    """
    if name in {*IMAGES.names, "geometry", "bbox"} - {"split"}:
        raise CatalogError(f"the column {name} says something else of an image: choose another")
    if not name.isidentifier() or not _is_word(name):
        raise CatalogError(f"{name!r} cannot be the name of a column: choose a plain word")
    alike = [n for n in schema.names if n.lower() == name.lower() and n != name]
    if alike:
        raise CatalogError(f"SQL cannot tell {name} from the column {alike[0]}: choose another")
    if name in schema.names:
        held, wanted = schema.field(name).type, part_type(shares)
        if pa.types.is_integer(held) != pa.types.is_integer(wanted):
            raise CatalogError(
                f"the column {name} holds {held}, {shares.said} need {wanted}\n"
                "  try: --column with another name"
            )


def _is_word(name: str) -> bool:
    """Whether SQL takes a name for that of a column."""
    try:
        one_statement(f"SELECT {name} FROM images WHERE {name} IS NULL", name)
    except CatalogError:
        return False
    return True
