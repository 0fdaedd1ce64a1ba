"""The README as PyPI shows it, and the commands in it as they are understood."""

import re
import shlex
from pathlib import Path

import pytest

from gv_data.cli import FAMILY
from gv_data.terminal.command import Command, Family
from gv_data.terminal.options import Parser

PACKAGE = Path(__file__).parents[2] / "packages" / "gv-data"
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^gv-data (.*)$", README, re.MULTILINE)


def test_every_link_leads_somewhere_from_pypi_too():
    links = re.findall(r"\]\(([^)]*)\)", README)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood(line):
    words = shlex.split(line)
    found: Command | Family = FAMILY
    while isinstance(found, Family):
        found = found.verbs[words.pop(0)].load()
    parser = Parser("gv-data", found.summary, found.examples)
    found.options(parser)
    parser.understand(words)


def test_the_folders_that_are_named_are_those_there_are():
    table = README.split("| module or folder |")[1].split("\n\n")[0]
    names = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    source = PACKAGE / "src" / "gv_data"
    folders = {init.parent.name for init in source.glob("*/__init__.py")}
    modules = {name for name in names if (source / f"{name}.py").exists()}
    assert names - modules == folders
