"""Words that the commands share: CRSs, ranges, tables of text, reasons."""

from collections.abc import Sequence

from gv_data.terminal.console import Console

REASONS_SHOWN = 5
"""Refused files that are named at the end; ``--verbose`` and ``--json`` name all."""


def crs_name(crs: str | None) -> str:
    """A CRS in a word: one without a code by the name its definition begins with."""
    if crs is None:
        return "no CRS"
    return crs.split('"')[1] if '"' in crs else crs


def span(low_high: tuple[float, float]) -> str:
    """A range, or the one number it is."""
    low, high = (f"{value:.3g}" for value in low_high)
    return low if low == high else f"{low} to {high}"


def volume(count: int) -> str:
    """A number of bytes in decimal units.

    Examples:
        >>> volume(980), volume(18_600_000)
        ('980 B', '18.6 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest entry; words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if n < 2 else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def refused_lines(reasons: Sequence[str], failed: str, console: Console) -> list[str]:
    """The files that were left out, with the reasons.

    Args:
        reasons: One a file, naming it.
        failed: What failed, such as ``could not be used``.
        console: Knows whether all are to be named.
    """
    if not reasons:
        return []
    shown = reasons if console.verbose else reasons[:REASONS_SHOWN]
    lines = [f"refused    {len(reasons):,} files {failed}:"]
    lines += [f"           {reason.splitlines()[0]}" for reason in shown]
    if len(shown) < len(reasons):
        lines.append("           ... (--verbose names them all)")
    return lines
