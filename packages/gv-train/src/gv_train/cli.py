"""Entry points of gv-train; what a verb needs is imported when it is chosen."""

from importlib import import_module

from gv_data.terminal.command import Command, Family, Verb, run


def main() -> int:
    """Run ``gv-train``: what is done with runs, and with the machine they need."""
    return run("gv-train", FAMILY)


def train() -> int:
    """Run ``train``: the experiment named first, or the app's default."""
    from gv_train import launch

    return launch.main()


def _verb(module: str, summary: str) -> Verb:
    def load() -> Command | Family:
        return import_module(f"gv_train.commands.{module}").COMMAND

    return Verb(summary, load)


FAMILY = Family(
    "Runs, and the machine they need; the command train makes them.",
    (
        "gv-train list",
        "gv-train doctor",
    ),
    {
        "list": _verb("listing", "runs, how far they came, how good they are"),
        "note": _verb("notes", "a few words about a run, kept with it"),
        "size": _verb("sizes", "what runs take of the disk"),
        "rm": _verb("removal", "delete runs, or only their checkpoints"),
        "doctor": _verb("examination", "what this machine lacks, and what to do about it"),
    },
)
