"""The options by which a command is told which images of a catalog it is about."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gv_data.terminal.options import Parser

if TYPE_CHECKING:
    from gv_data.catalog import Catalog


def add_options(parser: Parser) -> None:
    """Add ``CATALOG``, ``--where`` and ``--table``."""
    parser.add_argument("catalog", type=Path, metavar="CATALOG", help="its folder")
    parser.add_argument("--where", metavar="SQL", help="only the images for which this holds")
    parser.add_argument(
        "--table",
        type=named_path,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a table of your own (CSV, text, parquet) that SQL may name",
    )


def chosen(values: argparse.Namespace) -> "Catalog":
    """The view that the options mean.

    Raises:
        CatalogError: If there is no such catalog, or the condition is no SQL.
    """
    from gv_data.catalog import Catalog

    catalog = Catalog.open(values.catalog)
    if values.where or values.table:
        return catalog.where(values.where or "true", **dict(values.table))
    return catalog


def named_path(text: str) -> tuple[str, Path]:
    """The type of an option that names a file or folder."""
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(file)
