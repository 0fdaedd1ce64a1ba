"""A catalog before it is split: the images to split, and all others as they are."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.splitting.allotment import Balance, Parts
from gv_data.splitting.grounds import Grounds, Pairs
from gv_data.splitting.shared_ground import compare
from gv_data.splitting.shares import Shares
from gv_data.splitting.split import Seen, Split, check_column
from gv_data.splitting.split_figures import mix_of_classes, mix_of_images, portions
from gv_data.splitting.strata import Classes, Strata, classes_of, strata


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of a catalog before it is split.

    Attributes:
        view: The images to split.
        column: The column that the split is for.
        shares: The parts.
        ids: The images to split, in order.
        labels: Labels on each of them.
        seen: All images of the catalog, in order, with the part that they have.
        mine: Positions among all of those to split.
        grounds: Where all images lie.
    """

    view: Catalog
    column: str
    shares: Shares
    ids: tuple[str, ...]
    labels: Int[np.ndarray, " n"]
    seen: Seen
    mine: Int[np.ndarray, " n"]
    grounds: Grounds

    @classmethod
    def of(cls, view: Catalog, shares: Shares | None, column: str | None) -> "Survey":
        """Read a catalog's tables.

        Args:
            view: What to split.
            shares: The parts; None: `Shares.holdout`.
            column: The column that the split is for; None: the usual one.

        Raises:
            CatalogError: If the view is empty or the column is no place for a split.
        """
        shares = shares or Shares.holdout()
        column = column or shares.column
        table = view.sql("SELECT id, coalesce(objects, 0) AS labels FROM images ORDER BY id")
        if not len(table):
            raise CatalogError(f"there is no image in {view.said}")
        whole = replace(view, conditions=(), tables={})
        schema = whole.sql("SELECT * FROM images LIMIT 0").schema
        check_column(column, shares, schema)
        part = column if column in schema.names else "NULL"
        known = whole.sql(f"SELECT id, modified_ns, {part} AS part FROM images ORDER BY id")
        all_ids, times, parts = (known[name].to_pylist() for name in known.column_names)
        ids = table["id"].to_pylist()
        number = {id: n for n, id in enumerate(all_ids)}
        grounds = Grounds.of(whole)
        if len(grounds.ground) != len(all_ids) or not number.keys() >= set(ids):
            raise CatalogError(f"{view.path} changes while it is read\n  try: split it again")
        return cls(
            view=view,
            column=column,
            shares=shares,
            ids=tuple(ids),
            labels=table["labels"].to_numpy(),
            seen=dict(zip(all_ids, zip(times, parts, strict=True), strict=True)),
            mine=np.array([number[id] for id in ids]),
            grounds=grounds,
        )

    @cached_property
    def overlapping(self) -> Pairs:
        """The pairs of grounds that overlap."""
        return self.grounds.overlapping()

    def require(self, what: str, count: int, ways: str) -> None:
        """Refuse to split less than one thing for each part.

        Args:
            what: What is split, in the plural.
            count: How many there are.
            ways: What may be done.

        Raises:
            CatalogError: If there are fewer than parts.
        """
        if count < len(self.shares):
            raise CatalogError(
                f"{self.shares.said} need at least {len(self.shares)} {what}, found {count:,}\n"
                f"  try: {ways}"
            )

    def kinds(self, stratify: str | None) -> Strata | None:
        """The kinds of the images to split; by default those of ``label``, if there are some."""
        if stratify is not None:
            return strata(self.view, stratify)
        count = "SELECT count(DISTINCT label) AS n FROM images"
        (labels,) = self.view.sql(count)["n"].to_pylist()
        return strata(self.view, "label") if labels > 1 else None

    @cached_property
    def classes(self) -> Classes | None:
        """The classes on the images to split."""
        return classes_of(self.view)

    def balance(self, kinds: Strata | None) -> Balance:
        """What parts get their shares of: images, labels, and all kinds and classes together."""
        amounts, weights = [np.ones((len(self.ids), 1))], [1.0]
        if self.labels.any():
            amounts.append(self.labels[:, None].astype(float))
            weights.append(1.0)
        if kinds is not None:
            amounts.append(kinds.members)
            weights += [1 / len(kinds.names)] * len(kinds.names)
        if self.classes is not None:
            amounts.append(self.classes.amounts)
            weights += [1 / len(self.classes.names)] * len(self.classes.names)
        return Balance(np.concatenate(amounts, axis=1), np.array(weights))

    @property
    def held(self) -> Bool[np.ndarray, "g p"]:
        """Whether images that are not to be split show a ground, by part; the last is any other."""
        held = np.zeros((len(self.grounds), len(self.shares) + 1), bool)
        others = self._parts_of_others
        shown = (others >= 0) & (self.grounds.ground >= 0)
        held[self.grounds.ground[shown], np.minimum(others[shown], len(self.shares))] = True
        return held

    def split(self, parts: Parts, kinds: Strata | None, how: str) -> Split:
        """The split that an assignment makes, with its figures.

        Args:
            parts: Part of each image to split; -1 is none.
            kinds: Their kinds.
            how: What was kept together, in words.
        """
        everyone = self._parts_of_others.copy()
        everyone[self.mine] = parts
        judged = np.zeros(len(everyone), bool)
        judged[self.mine] = True
        shared = compare(
            self.grounds, self.overlapping, list(self.seen), everyone, self._names, judged
        )
        mine = replace(self.grounds, ground=self.grounds.ground[self.mine])
        mixes = []
        if kinds is not None and len(kinds.names) > 1:
            mixes.append(mix_of_images(parts, self.shares, kinds))
        if self.classes is not None:
            mixes.append(mix_of_classes(parts, self.shares, self.classes))
        return Split(
            view=self.view,
            column=self.column,
            shares=self.shares,
            ids=self.ids,
            parts=parts,
            how=how,
            portions=portions(parts, self.shares, self.labels, mine, self.overlapping),
            mixes=tuple(mixes),
            unplaced=int((mine.ground < 0).sum()),
            shared=shared,
            seen=self.seen,
        )

    @cached_property
    def _names(self) -> list[str | int]:
        """All parts: those asked for, then others that images have."""
        held = {part for _, part in self.seen.values() if part is not None}
        return [*self.shares.names, *sorted(held - set(self.shares.names))]

    @cached_property
    def _parts_of_others(self) -> Parts:
        """Position in all parts of each image of the catalog; -1 for those to split."""
        number: dict[str | int | None, int] = {name: n for n, name in enumerate(self._names)}
        parts = np.array([number.get(part, -1) for _, part in self.seen.values()])
        parts[self.mine] = -1
        return parts
