"""``gv-data cog``: many files, some of them broken, stopped midway."""

import json
import signal
import subprocess
import sys
import time
from typing import get_args

import numpy as np
import pytest

from gv_data.commands import cog
from gv_data.rasters.conversion import Averaging, Codec, convert, is_cog

NOISE = np.random.default_rng(5).integers(1, 255, (3, 700, 600), dtype=np.uint8)
ROWS, COLUMNS = np.indices((700, 600))
GROUND = (120 + 60 * np.sin(ROWS / 40) + 50 * np.cos(COLUMNS / 25)).astype(np.uint8)
PHOTO = np.stack([GROUND, GROUND[::-1], GROUND[:, ::-1]])


def test_the_options_offer_what_the_conversion_knows():
    assert get_args(Codec) == cog.CODECS
    assert get_args(Averaging) == cog.AVERAGINGS


def test_one_broken_file_does_not_stop_the_rest(command, tif, tmp_path):
    first, last = tif("in/a.tif", NOISE), tif("in/c.png", NOISE, driver="PNG")
    cut, made = tif("in/b.tif", NOISE), tmp_path / "cogs" / "made.tif"
    cut.write_bytes(cut.read_bytes()[:-5000])
    convert(first, made)
    code, told, _ = command("cog", first, cut, last, made, "--out", tmp_path / "cogs")
    assert code == 3
    assert told.startswith("converted  2 files, 2.")
    assert "every pixel compared\n" in told
    assert "already    1 files are COGs and stay as they are" in told
    assert f"refused    1 files could not be converted:\n           {cut} is cut" in told
    assert sorted(file.name for file in made.parent.iterdir()) == ["a.tif", "c.tif", "made.tif"]
    code, told, _ = command("cog", first, cut, "--out", tmp_path / "cogs", "--json", "--overwrite")
    answer = json.loads(told)
    assert code == 3
    assert [done["target"] for done in answer["converted"]] == [str(tmp_path / "cogs" / "a.tif")]
    assert [refused["file"] for refused in answer["refused"]] == [str(cut)]


def test_beside_its_source_a_cog_has_the_same_stem(command, tif, tmp_path):
    picture = tif("in/c.png", PHOTO, driver="PNG")
    code, told, _ = command("cog", picture, "--compress", "jpeg")
    assert code == 0
    assert "of 255 off" in told
    assert is_cog(picture.with_suffix(".tif"), "jpeg")
    code, _, narrated = command("cog", picture)
    assert (code, f"{picture.with_suffix('.tif')} exists already" in narrated) == (2, True)
    code, told, _ = command("cog", picture.with_suffix(".tif"))
    assert (code, "already    1 files" in told) == (0, True)


def test_commands_that_cannot_work_end_with_2(command, tif, tmp_path):
    one, two = tif("one/a.tif", NOISE), tif("two/a.tif", NOISE)
    for words, said in (
        (["nowhere.tif", "--out", tmp_path / "out"], "nowhere.tif is not there"),
        ([one], "its COG would have the same name\n  try: --out FOLDER"),
        ([one, two, "--out", tmp_path / "out"], "would both become"),
        ([one, "--out", two], "is a file: COGs are written into a folder"),
        ([one, "--out", tmp_path / "out", "--compress", "jpg"], "did you mean jpeg?"),
        ([one, "--out", tmp_path / "out", "--resampling", "mean"], "'mean' is not one of"),
        ([one, "--out", two / "x"], str(two)),
        ([], "missing FILE"),
    ):
        code, told, narrated = command("cog", *words)
        assert (code, told) == (2, ""), words
        assert narrated.count("error:") == 1, words
        assert said in narrated, words
    assert not (tmp_path / "out").exists()


@pytest.mark.robust
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_conversion_stops_at_once_and_leaves_nothing_that_looks_whole(tif, tmp_path, number):
    big = tif("big.tif", np.tile(NOISE, (1, 10, 10)))
    out = tmp_path / "out"
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "from gv_data.cli import main\n"
        "sys.exit(main())\n"
    )
    words = [sys.executable, "-c", script, "cog", str(big), "--out", str(out)]
    with subprocess.Popen(words, stderr=subprocess.PIPE) as child:
        while not list(out.glob(".big*")):
            assert child.poll() is None
            time.sleep(0.02)
        started = time.monotonic()
        child.send_signal(number)
        code = child.wait()
        assert time.monotonic() - started < 2
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    left = [file.name for file in out.iterdir()]
    if number == signal.SIGKILL:  # nobody could tidy up: the next writer will
        assert all(name.startswith(".big") and ".part" in name for name in left)
    else:
        assert left == []
