"""``train`` runs what was asked, with a throw-away second app beside urbanvision.

The apps live in a temporary uv workspace of copies whose only dependencies are each other, so that
nothing is downloaded and torch is not there at all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import psutil
import pytest
import yaml

from gv_data.terminal.caller import Caller
from gv_train import launch
from gv_train.errors import LaunchError

ROOT = Path(__file__).parents[2]
MEMBERS = ("packages/gv-data", "packages/gv-models", "packages/gv-train", "apps/urbanvision")
HEAVY = {"torch", "lightning", "torchgeo", "numpy", "pandas", "rasterio", "geopandas", "matplotlib"}
UV = os.environ.get("UV") or shutil.which("uv") or ""
needs_uv = pytest.mark.skipif(not UV, reason="uv is not on the path")

EXPERIMENT = '''
from dataclasses import dataclass

from gv_data.terminal.caller import next_command
from gv_train.launch import Experiment, Launch


@dataclass(frozen=True)
class Config:
    gsd_m: float = 0.3
    """Metres on the ground a pixel."""


def run(config: Config, launch: Launch) -> None:
    launch.console.say(next_command("{app}", "predict", "my scene.tif"))
    launch.console.answer({{"gsd_m": config.gsd_m, "from": launch.sources}}, "ran {name}")


experiment = Experiment("{name}", "Trains {name}.", Config, run)
'''

AGRILAND = """
[project]
name = "agriland"
version = "0.1.0"
requires-python = ">=3.12"
dependencies = ["gv-train"]
[project.scripts]
agriland = "agriland.cli:main"
[project.entry-points."gv.experiments"]
fields = "agriland.fields:experiment"
[project.entry-points."gv.apps"]
agriland = "agriland.fields:experiment"
[build-system]
requires = ["uv_build>=0.13.6,<0.14"]
build-backend = "uv_build"
"""

WORKSPACE = """
[project]
name = "two-apps"
version = "0"
requires-python = ">=3.12"
dependencies = ["urbanvision", "agriland"]
[tool.uv]
package = false
[tool.uv.workspace]
members = ["packages/*", "apps/*"]
[tool.uv.sources]
gv-data = { workspace = true }
gv-models = { workspace = true }
gv-train = { workspace = true }
urbanvision = { workspace = true }
agriland = { workspace = true }
"""


class Environment:
    """A virtual environment and the workspace it serves."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self.folder, self.venv = folder, venv

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in the workspace, offline, and check its exit code."""
        keep = {
            k: v for k, v in os.environ.items() if not k.startswith(("UV", "VIRTUAL", "PYTHON"))
        }
        told = subprocess.run(
            words,
            cwd=self.folder,
            env={
                **keep,
                "UV_OFFLINE": "1",
                "UV_PYTHON": sys.executable,
                "UV_PROJECT_ENVIRONMENT": str(self.venv),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert told.returncode == code, told.stderr
        return told

    def uv_run(self, *words: str) -> str:
        """What ``uv run ...`` answers."""
        return self.run(UV, "run", *words).stdout.strip()

    def lend(self) -> None:
        """Lend two light packages of this environment; uv does not know of them."""
        site = next(self.venv.glob("lib/python*/site-packages"))
        for package in (psutil, yaml):
            source = Path(package.__file__ or "").parent
            (site / source.name).symlink_to(source)


@pytest.fixture(scope="module")
def apps(tmp_path_factory) -> Environment:
    """Copies of the members and a second app, in one environment."""
    folder = tmp_path_factory.mktemp("two apps")
    for member in MEMBERS:
        shutil.copytree(ROOT / member / "src", folder / member / "src")
        for file in ("README.md", "LICENSE"):
            shutil.copy(ROOT / member / file, folder / member)
        project = (ROOT / member / "pyproject.toml").read_text()
        siblings = re.findall(r'"gv-[a-z]+>=[^"]*"', project)
        lines = re.sub(
            r"(?ms)^dependencies = \[.*?^\]", f"dependencies = [{','.join(siblings)}]", project
        )
        lines = re.sub(r"(?ms)^\[project.optional-dependencies\].*?\n\n", "", lines)
        assert set(tomllib.loads(lines)["project"]["dependencies"]) == {
            s.strip('"') for s in siblings
        }
        (folder / member / "pyproject.toml").write_text(lines)
    buildings = folder / "apps/urbanvision/src/urbanvision/buildings.py"
    buildings.write_text(EXPERIMENT.format(app="urbanvision", name="buildings"))
    agriland = folder / "apps/agriland/src/agriland"
    agriland.mkdir(parents=True)
    (agriland / "__init__.py").touch()
    (agriland / "fields.py").write_text(EXPERIMENT.format(app="agriland", name="fields"))
    urban = (ROOT / "apps/urbanvision/src/urbanvision/cli.py").read_text()
    (agriland / "cli.py").write_text(urban.replace("urbanvision", "agriland"))
    (agriland.parents[1] / "pyproject.toml").write_text(AGRILAND)
    (folder / "pyproject.toml").write_text(WORKSPACE)
    environment = Environment(folder, folder / ".venv")
    environment.run(UV, "venv", "--quiet", str(environment.venv))
    environment.lend()
    environment.run(UV, "sync", "--quiet", "--all-packages")
    return environment


@pytest.fixture(scope="module")
def wheels(apps, tmp_path_factory) -> Environment:
    """The same apps installed from wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    apps.run(UV, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder))
    environment = Environment(apps.folder, folder / "venv")
    environment.run(UV, "venv", "--quiet", str(environment.venv))
    environment.lend()
    built = [str(wheel) for wheel in folder.glob("*.whl")]
    python = str(environment.venv / "bin/python")
    environment.run(UV, "pip", "install", "--quiet", "--no-deps", "--python", python, *built)
    return environment


def both(environment: Environment, *options: str) -> None:
    """Alternate between the apps."""
    for _ in range(2):
        for app, name in (("urbanvision", "buildings"), ("agriland", "fields")):
            assert environment.uv_run(*options, "--package", app, "train") == f"ran {name}"


@needs_uv
@pytest.mark.parametrize("options", [(), ("--no-sync",)])
def test_alternating_apps_run_what_was_asked(apps, options):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    both(apps, *options)


@needs_uv
def test_alternating_apps_run_what_was_asked_with_exact(apps):
    both(apps, "--exact")


@needs_uv
def test_alternating_apps_run_what_was_asked_from_wheels(wheels):
    both(wheels, "--no-sync")
    assert wheels.run(str(wheels.venv / "bin/urbanvision"), "train").stdout == "ran buildings\n"


@needs_uv
def test_the_app_is_found_through_a_shell(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    assert apps.uv_run("--no-sync", "--package=agriland", "sh", "-c", "train; true") == "ran fields"


@needs_uv
def test_a_named_experiment_runs_whatever_the_package(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    assert apps.uv_run("--package", "urbanvision", "train", "fields") == "ran fields"
    told = json.loads(apps.uv_run("train", "buildings", "--json", "--gsd_m", "0.2"))
    assert told == {"gsd_m": 0.2, "from": {"gsd_m": "--gsd-m"}}


@needs_uv
def test_options_alone_configure_the_default_experiment(apps):
    told = apps.uv_run("--package", "agriland", "train", "--gsd-m", "2", "--print-config")
    assert yaml.safe_load(told) == {"gsd_m": 2.0}


@needs_uv
def test_an_app_trains_its_own_default(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    assert apps.uv_run("--no-sync", "urbanvision", "train") == "ran buildings"
    assert apps.uv_run("--no-sync", "agriland", "train") == "ran fields"
    assert apps.uv_run("--no-sync", "--package", "agriland", "urbanvision", "train") == (
        "ran buildings"
    )


@needs_uv
def test_two_apps_and_no_word_which_is_an_error_that_lists_both(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    told = apps.run(str(apps.venv / "bin/train"), code=2).stderr
    assert "agriland, urbanvision" in told
    assert "buildings, fields" in told
    assert len(told.splitlines()) == 1


@needs_uv
def test_the_only_app_needs_no_name(apps):
    apps.run(UV, "sync", "--quiet", "--package", "agriland")
    assert apps.run(str(apps.venv / "bin/train")).stdout == "ran fields\n"
    # What was asked is not there: running the other app would be wrong, and silent.
    told = apps.run(UV, "run", "--no-sync", "--package", "urbanvision", "train", code=2).stderr
    assert "urbanvision is not installed" in told


@needs_uv
def test_list_names_experiments_apps_and_defaults(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    assert apps.uv_run("--no-sync", "train", "list").splitlines() == [
        "buildings  urbanvision  Trains buildings. (default)",
        "fields  agriland        Trains fields. (default)",
    ]
    rows = json.loads(apps.uv_run("--no-sync", "train", "list", "--json"))
    assert rows[1] == {
        "name": "fields",
        "app": "agriland",
        "default": True,
        "summary": "Trains fields.",
    }


@needs_uv
def test_a_mistyped_experiment_gets_the_nearest_and_the_list(apps):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    told = apps.run(UV, "run", "--no-sync", "train", "bildings", code=2).stderr
    assert "no experiment 'bildings'; did you mean buildings?" in told
    assert "buildings, fields" in told


@needs_uv
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--package", "urbanvision", "train"), "uv run urbanvision predict 'my scene.tif'"),
        (("run", "--no-sync", "train", "fields"), "uv run --no-sync agriland predict"),
        (("run", "--no-sync", "sh", "-c", "train fields; true"), "agriland predict"),
    ],
)
def test_the_next_command_is_in_the_callers_form(apps, words, said):
    apps.run(UV, "sync", "--quiet", "--all-packages")
    assert apps.run(UV, *words).stderr.splitlines()[-1].startswith(said)


def entry(name: str, app: str, group: str = "gv.experiments") -> EntryPoint:
    return EntryPoint(name, f"{app}.{name}:experiment", group)


def test_an_experiment_of_two_apps_needs_to_know_which(monkeypatch):
    points = [entry("fields", "agriland"), entry("fields", "other_land")]
    monkeypatch.setattr(launch, "caller", lambda: Caller(package="Other.Land"))
    assert launch._only(points, None) == points[1]
    assert launch._only(points, "agriland") == points[0]
    monkeypatch.setattr(launch, "caller", Caller)
    with pytest.raises(LaunchError, match="agriland and other_land: agriland train fields"):
        launch._only(points, None)


def test_no_app_at_all_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(launch, "caller", Caller)
    with pytest.raises(LaunchError, match="uv add urbanvision"):
        launch.default_experiment({}, None, {})


def test_what_is_no_experiment_is_named():
    with pytest.raises(LaunchError, match=r"fields of json: json:loads is a function"):
        launch.load(EntryPoint("fields", "json:loads", "gv.experiments"))
    with pytest.raises(LaunchError, match="cannot be loaded"):
        launch.load(entry("fields", "no_such_land"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("list",), 0),
        (("buildings", "--help"), 0),
        (("buildings", "--gsd-n", "1"), 2),
        (("bildings",), 2),
        (("--version",), 0),
    ],
)
def test_answers_at_once_without_importing_anything_heavy(imported, words, code):
    runs = [imported("gv_train.cli:train", "train", *words) for _ in range(3)]
    assert {run[1] for run in runs} == {code}
    assert not runs[0][0] & HEAVY
    assert "gv_train" in runs[0][0]
    assert min(run[2] for run in runs) < 0.5
