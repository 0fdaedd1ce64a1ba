"""What a person writes about a run: ``note.txt`` in its folder.

A file of its own, because a training rewrites ``run.json`` at each heartbeat.
"""

from pathlib import Path

from gv_data import atomic
from gv_train.errors import RunError

FILE = "note.txt"


def read(folder: Path) -> str:
    """The note of a run; empty if there is none.

    Args:
        folder: Folder of the run.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        return (folder / FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{folder / FILE} cannot be read ({error}): write it anew") from error


def write(folder: Path, text: str) -> None:
    """Replace the note of a run in one step.

    Args:
        folder: Folder of the run.
        text: The note; an empty one is removed.
    """
    if text.strip():
        atomic.write_text(folder / FILE, text.strip() + "\n")
    else:
        (folder / FILE).unlink(missing_ok=True)
