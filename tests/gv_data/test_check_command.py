"""``gv-data check`` as people type it: what it says, and what it ends with."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

RNG = np.random.default_rng(2)


@pytest.fixture
def catalog(command, tif, tmp_path) -> Path:
    """Five images, each on ground of its own; the last two are copies of the first."""
    first = RNG.integers(1, 255, (3, 64, 64), dtype=np.uint8)
    for n in range(5):
        values = RNG.integers(1, 255, (3, 64, 64), dtype=np.uint8) if 0 < n < 3 else first
        tif(f"images/{n}.tif", values, transform=Affine(0.5, 0, 5e5 + 100 * n, 0, -0.5, 3e6))
    assert command("index", tmp_path / "images", "--out", tmp_path / "c")[0] == 0
    return tmp_path / "c"


def test_warnings_pass_unless_strict(command, catalog):
    code, told, err = command("check", catalog)
    lines = told.splitlines()
    assert (code, err.splitlines()[0]) == (0, f"check      {catalog}")
    assert lines[0].startswith("warning    duplicates: 2 images look like others, on other ground")
    assert lines[1] == (
        f"           try: look at them, and take one of each out: gv-data remove {catalog} --where "
        "\"id = '3'\""
    )
    assert [line.split("  ")[0] for line in lines[2:]] == ["passed", "looked at", "took"]
    assert lines[3].endswith("5 of 5 images; 5 files; 5 compared (5 of them new, 0 known)")
    assert "5 compared (0 of them new, 5 known)" in command("check", catalog)[1]
    assert command("check", catalog, "--strict")[0] == 4


def test_failures_come_first_and_end_with_4(command, catalog, tmp_path):
    (tmp_path / "images" / "1.tif").unlink()
    os.utime(tmp_path / "images" / "2.tif", (1e9, 1e9))
    code, told, _ = command("check", catalog)
    assert code == 4
    levels = [line.split()[0] for line in told.splitlines() if not line.startswith(" ")]
    assert levels == ["failure", "warning", "warning", "passed", "looked", "took"]
    assert "4 of 5 images" in told  # the one that is gone could not be looked at


def test_json_holds_all_examples_and_pairs(command, catalog):
    code, told, _ = command("check", catalog, "--json", "-q")
    answer = json.loads(told)
    assert (code, answer["failures"], answer["warnings"], answer["notes"]) == (0, 0, 1, 0)
    (finding,) = answer["findings"]
    assert finding["examples"] == ["0 + 3", "0 + 4"]
    assert (finding["rule"], finding["level"], finding["count"]) == ("duplicates", "warning", 2)
    assert answer["alike"][0] == {
        "ids": ["0", "3"],
        "parts": [None, None],
        "distance": 0,
        "same_ground": False,
        "leak": False,
    }
    assert {"missing-files", "readable", "nodata"} <= set(answer["passed"])
    assert (answer["images"], answer["looked_at"], answer["compared"]) == (5, 5, 5)


def test_verbose_lists_all_examples(command, catalog):
    assert "\n             0 + 4\n" in command("check", catalog, "--verbose")[1]


def test_a_part_is_checked_with_a_table_and_a_small_sample(command, catalog, tmp_path):
    (tmp_path / "chosen.csv").write_text("id\n0\n1\n2\n")
    code, told, _ = command(
        "check", catalog, "--where", "id IN (SELECT id::VARCHAR FROM chosen)",
        "--table", f"chosen={tmp_path / 'chosen.csv'}", "--sample", "2", "--read-data",
    )  # fmt: skip
    assert code == 0
    assert "warning" not in told
    assert "all pixels of 3 images, 2 of them closely" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--column", "fold"], "fold"),
        (["--sample", "0"], "whole number above 0"),
        (["--where", "id = "], "condition"),
    ],
)
def test_wrong_options_end_with_2(command, catalog, words, said):
    code, told, err = command("check", catalog, *words)
    assert (code, told) == (2, "")
    assert said in err


def test_a_folder_that_is_no_catalog_is_told_as_such(command, tmp_path):
    code, _, err = command("check", tmp_path)
    assert code == 2
    assert "is not a catalog" in err


def test_a_view_without_images_has_passed_nothing(command, tif, tmp_path):
    image = np.random.default_rng(0).integers(1, 255, (3, 60, 70), dtype=np.uint8)
    assert command("index", tif("a.tif", image), "--out", tmp_path / "c")[0] == 0
    code, told, narrated = command("check", tmp_path / "c", "--where", "place = 'nowhere'")
    assert (code, told) == (2, "")
    assert "there is no image in" in narrated
