"""The members fit together as published packages, not only as folders beside each other."""

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKSPACE = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS: dict[str, Path] = {}
PROJECTS: dict[str, dict[str, Any]] = {}
for file in sorted([*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("apps/*/pyproject.toml")]):
    project = tomllib.loads(file.read_text())["project"]
    MEMBERS[project["name"]] = file.parent
    PROJECTS[project["name"]] = project

every_member = pytest.mark.parametrize("name", MEMBERS)


def package(name: str) -> Path:
    """The folder that is imported."""
    return MEMBERS[name] / "src" / name.replace("-", "_")


def requirements(name: str) -> list[Requirement]:
    """What a member declares, its extras included."""
    extras = PROJECTS[name].get("optional-dependencies", {}).values()
    return [Requirement(text) for text in sum(extras, PROJECTS[name]["dependencies"])]


def entry_points(name: str) -> Iterator[EntryPoint]:
    """What a member offers by name."""
    groups = PROJECTS[name].get("entry-points", {}) | {"scripts": PROJECTS[name].get("scripts", {})}
    for group, points in groups.items():
        for key, value in points.items():
            yield EntryPoint(key, value, group)


def imported(name: str) -> set[str]:
    """Top-level modules that a member imports anywhere, also inside functions."""
    found: set[str] = set()
    for source in package(name).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {package(name).name}


def test_no_script_has_two_owners():
    owners = Counter(
        script for project in PROJECTS.values() for script in project.get("scripts", {})
    )
    assert {script for script, count in owners.items() if count > 1} == set()


def test_no_experiment_is_hidden_by_a_verb_of_train():
    offered = {
        p.name for name in MEMBERS for p in entry_points(name) if p.group == "gv.experiments"
    }
    assert "list" not in offered


def test_the_default_of_an_app_is_one_of_its_experiments():
    for name in MEMBERS:
        points = list(entry_points(name))
        experiments = {point.value for point in points if point.group == "gv.experiments"}
        assert {point.value for point in points if point.group == "gv.apps"} <= experiments
        assert {point.name for point in points if point.group == "gv.apps"} <= {name}


def test_the_root_gathers_every_member():
    gathered = {Requirement(text).name for text in WORKSPACE["project"]["dependencies"]}
    assert gathered == set(MEMBERS)
    assert set(WORKSPACE["tool"]["uv"]["sources"]) == set(MEMBERS)


@every_member
def test_ranges_admit_the_current_siblings(name):
    for requirement in requirements(name):
        if requirement.name in PROJECTS:
            # Without a range the wheel would accept every version there will ever be.
            assert {"<", ">="} <= {specifier.operator for specifier in requirement.specifier}
            assert requirement.specifier.contains(PROJECTS[requirement.name]["version"])


@every_member
def test_one_python_for_all(name):
    assert PROJECTS[name]["requires-python"] == WORKSPACE["project"]["requires-python"]


@every_member
def test_every_import_is_declared(name):
    siblings = {package(member).name: [member] for member in MEMBERS}
    providers = {**packages_distributions(), **siblings}
    declared = {canonicalize_name(requirement.name) for requirement in requirements(name)}
    missing = {
        module
        for module in imported(name)
        if not declared & {canonicalize_name(dist) for dist in providers.get(module, [module])}
    }
    assert missing == set()


@every_member
def test_every_entry_point_loads(name):
    for point in entry_points(name):
        assert point.load() is not None


@every_member
def test_what_a_package_needs_is_there(name):
    folder = MEMBERS[name]
    assert (package(name) / "py.typed").is_file()
    assert f"# {name}" in (folder / "README.md").read_text()
    assert PROJECTS[name]["version"] in (folder / "CHANGELOG.md").read_text()
    assert PROJECTS[name]["license"] == "MIT"


def test_the_licence_is_there():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
