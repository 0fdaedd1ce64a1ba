"""When images were taken, from the names of their files and folders."""

import datetime as dt
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gv_data.errors import CatalogError

type Span = tuple[dt.datetime, dt.datetime]
"""First and last moment in UTC."""

_FIELDS = {
    "Y": r"(?:1[89]|2[01])\d\d",  # earlier and later numbers are no years of photographs
    "y": r"\d\d",
    "m": r"\d\d",
    "b": r"[a-z]{3}",
    "B": r"[a-z]{3,9}",
    "d": r"\d\d",
    "j": r"(?P<day>\d{3})",
    "H": r"\d\d",
    "M": r"\d\d",
    "S": r"\d\d",
    "f": r"\d{1,6}",
    "%": "%",
}
"""What Python's ``strptime`` reads for each letter, of a fixed number of digits."""

_STEPS = (
    ("f", dt.timedelta(microseconds=1)),
    ("S", dt.timedelta(seconds=1)),
    ("M", dt.timedelta(minutes=1)),
    ("H", dt.timedelta(hours=1)),
    ("dj", dt.timedelta(days=1)),
)
"""The finest field of a pattern says how long a moment it names may last."""

_INSTANT = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class DatePattern:
    """How dates are written in names.

    Attributes:
        text: As for ``strptime``: ``%Y%m%d``, ``%Y%m%dT%H%M%S``, ``%Y/%m/%d`` for folders.
    """

    text: str

    def __post_init__(self) -> None:
        fields = self._fields
        unknown = [field for field in fields if field not in _FIELDS]
        dated = {"j"} & {*fields} or not {"d"} & {*fields} or {"m", "b", "B"} & {*fields}
        timed = not {"H", "M", "S", "f"} & {*fields} or {"d", "j"} & {*fields}
        if unknown or not {"Y", "y"} & {*fields} or not dated or not timed:
            raise CatalogError(
                f"{self.text!r} is no pattern of dates: it has a year and what lies between that "
                f"and its finest part, of {', '.join(f'%{field}' for field in _FIELDS)}\n"
                "  try: %Y%m%d, %Y-%m-%d, %Y%j or %Y%m%dT%H%M%S"
            )
        if len(set(fields)) < len(fields):
            raise CatalogError(f"{self.text!r} is no pattern of dates: it names a part twice")

    @property
    def _fields(self) -> list[str]:
        return [field for field in re.findall("%(.?)", self.text) if field != "%"]

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts = re.split("%(.)", self.text)  # literal text and fields in turn
        found = "".join(_FIELDS[part] if n % 2 else re.escape(part) for n, part in enumerate(parts))
        # a date is no part of a longer number; dates may lie over each other
        before = r"(?<!\d)" if re.match("%[^bB%]", self.text) else ""
        after = r"(?!\d)" if re.search(r"%[^bB%]\Z", self.text) else ""
        return re.compile(f"(?={before}({found}){after})", re.IGNORECASE)

    def of(self, file: Path) -> Span | None:
        """When an image was taken.

        Args:
            file: Its path; the name of the file is looked at first, then the folders, the nearest
                first. A pattern with a slash is looked for in all of it.

        Returns:
            The first date found there that the calendar knows: its first and its last microsecond,
            as torchgeo has it. A day lasts from midnight to midnight, UTC. None without a date.

        Examples:
            >>> first, last = DatePattern("%Y-%m").of(Path("flights/2023-02/a.tif"))
            >>> print(first, last)
            2023-02-01 00:00:00+00:00 2023-02-28 23:59:59.999999+00:00
        """
        names = [file.as_posix()] if "/" in self.text else reversed(file.parts)
        for name in names:
            for found in self._expression.finditer(name):
                try:
                    first = dt.datetime.strptime(found[1], self.text).replace(tzinfo=dt.UTC)
                except ValueError:  # digits that are no date, such as the 13th month
                    continue
                day = found.groupdict().get("day")
                if day and int(day) != first.timetuple().tm_yday:  # day 366 of a common year
                    continue
                return first, self._end(first) - _INSTANT
        return None

    def _end(self, first: dt.datetime) -> dt.datetime:
        """When that which begins then is over."""
        fields = set(self._fields)
        for letters, step in _STEPS:
            if fields & {*letters}:
                return first + step
        if fields & {"m", "b", "B"}:
            return (first + dt.timedelta(days=31)).replace(day=1)
        return first.replace(year=first.year + 1)
