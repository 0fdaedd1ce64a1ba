"""``gv-data remove``: images out of a catalog."""

import argparse

from gv_data.commands import views
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, UsageError


def _options(parser: Parser) -> None:
    views.add_options(parser)


def _remove(values: argparse.Namespace, console: Console) -> None:
    """Remove the rows of a view; no image file is touched."""
    if values.where is None:
        raise UsageError("gv-data remove: which images? for example --where \"place = 'village'\"")
    from gv_data.intake.catalog_rows import remove

    view = views.chosen(values)
    count = remove(view)
    console.answer(
        {"catalog": values.catalog, "where": values.where, "removed": count},
        f"{count:,} images removed from {values.catalog}; their files stay",
    )


COMMAND = Command(
    "Remove images from a catalog; their files stay.",
    ("gv-data remove catalogs/town --where \"place = 'village'\"",),
    _options,
    _remove,
)
