"""What images are split into: named parts, and the share of the images that each is to hold."""

import math
from dataclasses import dataclass
from typing import Self

from gv_data.errors import CatalogError


@dataclass(frozen=True)
class Shares:
    """The parts of a split.

    Attributes:
        names: Of the parts: words, or numbers for folds.
        wanted: Share of the images that each part is to hold; together 1.
    """

    names: tuple[str, ...] | tuple[int, ...]
    wanted: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise CatalogError(f"a split needs two parts or more, each once, got {self.names}")
        fit = len(self.wanted) == len(self.names) and all(share > 0 for share in self.wanted)
        if not fit or not math.isclose(math.fsum(self.wanted), 1):
            raise CatalogError(
                f"the shares of {self.said} are above 0 and together 1, got {self.wanted}"
            )

    @classmethod
    def holdout(cls, val: float = 0.15, test: float = 0.15) -> Self:
        """Parts ``train``, ``val`` and ``test``; one without a share is left out.

        Raises:
            CatalogError: If nothing would be left for training, or for anything else.

        Examples:
            >>> Shares.holdout(val=0.2, test=0).names
            ('train', 'val')
        """
        if not (0 <= val < 1 and 0 <= test < 1 and 0 < val + test < 1):
            raise CatalogError(
                f"shares of val and test are 0 or more and together above 0 and below 1, so that "
                f"train has some too; got {val:g} and {test:g}\n  try: --val 0.15 --test 0.15"
            )
        held = {"train": 1 - val - test, "val": val, "test": test}
        kept = {name: share for name, share in held.items() if share > 0}
        return cls(tuple(kept), tuple(kept.values()))

    @classmethod
    def folds(cls, count: int) -> Self:
        """Parts 0, 1, ... of the same size, for cross-validation.

        Raises:
            CatalogError: If there would be fewer than two.
        """
        if count < 2:
            raise CatalogError(f"there are at least 2 folds, got {count}")
        return cls(tuple(range(count)), (1 / count,) * count)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def column(self) -> str:
        """The usual column for it: ``split``, or ``fold`` when parts are numbers."""
        return "fold" if isinstance(self.names[0], int) else "split"

    @property
    def said(self) -> str:
        """The parts in words."""
        if isinstance(self.names[0], int):
            return f"{len(self)} folds"
        return ", ".join(map(str, self.names[:-1])) + f" and {self.names[-1]}"
