import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gv_data.terminal.options import Parser, UsageError
from gv_train.errors import ConfigError
from gv_train.options import Configured, add_files, add_flags, configure, options_of, to_plain


@dataclass(frozen=True)
class Trainer:
    max_epochs: int = 50
    """Epochs at most."""
    lr: float = 3e-4
    """Peak learning rate."""


@dataclass(frozen=True)
class Town:
    gsd_m: float = 0.3
    """Metres on the ground
    a pixel, 100 % of them."""
    place: str = "zanzibar"
    data: Path | None = None
    """Catalog; without one a synthetic town."""
    loss: Literal["bce", "dice"] = "bce"
    workers: int | Literal["auto"] = "auto"
    flips: bool = True
    image: tuple[Path, ...] = ()
    bands: tuple[str, ...] = ("red", "green")
    trainer: Trainer = field(default_factory=lambda: Trainer(lr=1e-3))

    def __post_init__(self) -> None:
        if self.gsd_m <= 0:
            raise ValueError(f"gsd_m must be positive, got {self.gsd_m}")


def parse(*words: str, kind: type = Town) -> Configured[Any]:
    parser = Parser("toy", "Toy.", ())
    add_flags(parser, kind)
    add_files(parser)
    return configure(kind, parser.understand(words))


def written(folder: Path, text: str, name: str = "town.yaml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_defaults_are_those_of_the_dataclass():
    found = parse()
    assert found.value == Town()
    assert set(found.sources.values()) == {"default"}


def test_flags_of_every_type_are_read():
    words = "--gsd-m 0.2 --place a_b --data c --loss dice --workers 4 --no-flips"
    more = "--image a.tif b.tif --bands nir --trainer.max-epochs 3"
    found = parse(*words.split(), *more.split())
    assert found.value == Town(
        gsd_m=0.2,
        place="a_b",
        data=Path("c"),
        loss="dice",
        workers=4,
        flips=False,
        image=(Path("a.tif"), Path("b.tif")),
        bands=("nir",),
        trainer=Trainer(max_epochs=3, lr=1e-3),
    )
    assert found.sources["trainer.max_epochs"] == "--trainer.max-epochs"
    assert found.sources["trainer.lr"] == "default"
    assert found.plain["image"] == ["a.tif", "b.tif"]
    assert found.plain["trainer"] == {"max_epochs": 3, "lr": 1e-3}


def test_underscores_are_accepted_in_flags():
    assert parse("--trainer.max_epochs=3").value.trainer.max_epochs == 3


def test_none_and_auto_are_words():
    assert parse("--data", "none").value.data is None
    assert parse("--workers", "auto").value.workers == "auto"


def test_a_flag_wins_over_files_and_a_later_file_over_an_earlier(tmp_path):
    first = written(tmp_path, "gsd_m: 0.1\nplace: first\ntrainer:\n  lr: 1e-2\n", "a.yaml")
    second = written(tmp_path, "place: second\nloss: dice\n", "b.yaml")
    found = parse("--loss", "bce", "--config", first, "--config", second)
    assert (found.value.gsd_m, found.value.place, found.value.loss) == (0.1, "second", "bce")
    assert found.value.trainer == Trainer(lr=1e-2)
    assert found.sources["gsd_m"] == f"{first}:1"
    assert found.sources["place"] == f"{second}:1"
    assert found.sources["trainer.lr"] == f"{first}:4"
    assert found.sources["loss"] == "--loss"


def test_keys_of_a_file_may_have_dashes(tmp_path):
    file = written(tmp_path, "gsd-m: 1\ntrainer: {max-epochs: 2}\n")
    assert parse("--config", file).value == Town(gsd_m=1.0, trainer=Trainer(2, 1e-3))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("place: a\ngsd_n: 0.2", "town.yaml:2: no key gsd_n; did you mean gsd_m?"),
        ("trainer:\n  max_epoch: 2", "town.yaml:2: no key trainer.max_epoch; did you mean"),
        ("gsd_m: wide", "town.yaml:1: gsd_m: 'wide' is not a number"),
        ("gsd_m: true", "town.yaml:1: gsd_m: True is not a number"),
        ("trainer:\n  max_epochs: 1.5", "town.yaml:2: trainer.max_epochs: 1.5 is not a whole"),
        ("place: 2026-11-22", "is not text; put it in quotes"),
        ("loss: bec", "loss: 'bec' is not one of bce, dice; did you mean bce?"),
        ("workers: 1.5", "workers: 1.5 is not auto or a whole number; put it in quotes"),
        ("image: a.tif", "image: 'a.tif' is not a list"),
        ("image: [a.tif, 3]", "image: 3 is not a path"),
        ("flips: 1", "flips: 1 is not true or false"),
        ("gsd_m: null", "gsd_m: None is not a number"),
        ("trainer: 5", "trainer holds keys, not a value"),
        ("place: a\nplace: b", "town.yaml:2: place stands already in"),
        ("place: &x a\nloss: *x", "town.yaml:1: anchors and aliases"),
        ("place: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("place: [", "town.yaml:1: "),
        ("- a", "must hold lines such as"),
        ("just words", "must hold lines such as"),
        ("[" * 100_000, "nested deeper than a section with a list"),
        ("a: '\x00'", "is not YAML that can be read"),
        ("gsd_m: -1", "gsd_m must be positive, got -1.0"),
        ("#" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_a_wrong_file_is_named_with_line_and_key(text, told, tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse("--config", written(tmp_path, text))
    assert told in str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path):
    assert parse("--config", written(tmp_path, "# nothing\n")).value == Town()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--loss", "bec"), "--loss: 'bec' is not one of bce, dice; did you mean bce?"),
        (("--trainer.max-epochs", "x"), "--trainer.max-epochs: 'x' is not a whole number"),
        (("--workers", "many"), "--workers: 'many' is not auto or a whole number"),
        (("--trainer.max-epoch", "3"), "no option --trainer.max-epoch; did you mean"),
    ],
)
def test_a_wrong_flag_says_key_given_and_allowed(words, told):
    with pytest.raises(UsageError, match="toy: ") as caught:
        parse(*words)
    assert told in str(caught.value)


def test_a_missing_value_is_named():
    @dataclass(frozen=True)
    class Needs:
        scene_path: Path

    with pytest.raises(ConfigError, match="missing --scene-path"):
        parse(kind=Needs)
    assert parse("--scene-path", "a", kind=Needs).value == Needs(Path("a"))


def test_a_section_without_default_can_be_given_whole():
    @dataclass(frozen=True)
    class Inner:
        side_px: int

    @dataclass(frozen=True)
    class Outer:
        inner: Inner

    # Local classes are not found by name, so the annotation is given as Python would resolve it.
    Outer.__annotations__["inner"] = Inner
    assert parse("--inner.side-px", "3", kind=Outer).value == Outer(Inner(3))


@pytest.mark.parametrize(
    "annotation",
    [Any, object, Callable, list[str], dict, complex, tuple[int, int], tuple, int | Any, Trainer],
)
def test_a_type_that_cannot_be_written_down_is_refused_at_once(annotation):
    inner = dataclasses.make_dataclass("Inner", [("x", annotation)], frozen=True)
    outer = dataclasses.make_dataclass("Outer", [("inner", inner)], frozen=True)
    with pytest.raises(TypeError, match=r"Inner\.x"):
        options_of(outer)


def test_a_configuration_that_can_change_is_refused():
    with pytest.raises(TypeError, match="must be a frozen dataclass"):
        options_of(dataclasses.make_dataclass("Loose", [("x", int)]))


def test_the_help_is_the_string_under_the_field():
    parser = Parser("toy", "Toy.", ())
    add_flags(parser, Town)
    add_files(parser)
    text = " ".join(parser.format_help().split())
    assert "--gsd-m X" in text
    assert "Metres on the ground a pixel, 100 % of them. (default: 0.3)" in text
    assert "--loss bce|dice" in text
    assert "--image PATH [PATH ...]" in text
    assert "--flips, --no-flips" in text
    assert "Epochs at most. (default: 50)" in text
    assert "(default: red green)" in text


def test_only_what_differs_is_written_and_it_can_be_fed_back(tmp_path):
    found = parse("--gsd-m", "0.2", "--trainer.max-epochs", "3", "--image", "a b.tif")
    text = found.to_yaml("changed")
    assert yaml.safe_load(text) == {
        "gsd_m": 0.2,
        "image": ["a b.tif"],
        "trainer": {"max_epochs": 3},
    }
    assert "# Metres on the ground a pixel" in text
    assert "  # Epochs at most." in text
    assert parse("--config", written(tmp_path, text)).value == found.value
    assert parse("--config", written(tmp_path, found.to_yaml("full"))).value == found.value


def test_nothing_changed_is_written_as_a_comment(tmp_path):
    text = parse().to_yaml("changed")
    assert yaml.safe_load(text) is None
    assert len(yaml.safe_load(parse().to_yaml("full"))) == len(dataclasses.fields(Town))


towns = st.builds(
    Town,
    gsd_m=st.floats(1e-9, 1e9),
    place=st.text(),
    data=st.none() | st.text(st.characters(codec="utf-8"), min_size=1).map(Path),
    loss=st.sampled_from(["bce", "dice"]),
    workers=st.integers() | st.just("auto"),
    flips=st.booleans(),
    image=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).map(Path)).map(tuple),
    bands=st.lists(st.text()).map(tuple),
    trainer=st.builds(Trainer, st.integers(), st.floats(allow_nan=False)),
)


@settings(max_examples=40, deadline=None)
@given(towns)
def test_any_configuration_survives_its_yaml(tmp_path_factory, town):
    file = tmp_path_factory.mktemp("yaml") / "town.yaml"
    file.write_text(Configured(town, to_plain(town), {}).to_yaml("full"), encoding="utf-8")
    assert parse("--config", str(file)).value == town


def test_no_yaml_is_imported_before_a_file_is_read():
    script = "import gv_train.options, sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in told.stdout.split()}
    assert not loaded & {"yaml", "numpy", "torch", "rich", "psutil"}


def test_the_plain_form_is_json():
    assert json.loads(json.dumps(parse().plain))["trainer"]["max_epochs"] == 50
