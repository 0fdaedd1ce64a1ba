"""The ``gv-data`` command; each verb's module is imported when it is chosen."""

from importlib import import_module

from gv_data.terminal.command import Command, Family, Verb, run


def main() -> int:
    """Run ``gv-data``."""
    return run("gv-data", FAMILY)


def _verb(name: str, summary: str) -> Verb:
    def load() -> Command | Family:
        return import_module(f"gv_data.commands.{name}").COMMAND

    return Verb(summary, load)


FAMILY = Family(
    "Catalogs of imagery and labels.",
    (
        "gv-data index photos --labels roofs.gpkg --place town --out catalogs/town",
        "gv-data info catalogs/town",
    ),
    {
        "index": _verb("index", "make or extend a catalog"),
        "remove": _verb("remove", "take images out of a catalog"),
        "info": _verb("info", "say what a catalog holds"),
        "sql": _verb("sql", "ask a catalog anything"),
        "measure": _verb("measure", "exact statistics of new and changed images"),
        "check": _verb("check", "files, values, labels, leaks: what would ruin the work"),
        "split": _verb("split", "training, validation and test images that share no ground"),
        "show": _verb("show", "draw images with their labels, or a map"),
        "cog": _verb("cog", "make rasters Cloud Optimized GeoTIFFs"),
        "cache": _verb("cache", "what lies in the cache folder, and clearing it"),
        "stac": _verb("stac", "catalogs to STAC and from it"),
    },
)
