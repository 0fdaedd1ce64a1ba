import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gv_data.errors import RasterError
from gv_data.terminal import console as voice
from gv_data.terminal.caller import Caller, read_caller
from gv_data.terminal.command import Command, Family, Verb, run, versions
from gv_data.terminal.console import Console, paint
from gv_data.terminal.options import Parser, dashed

HEAVY = {"torch", "numpy", "lightning", "rasterio", "pandas", "rich", "psutil", "yaml"}


def options(parser: Parser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument("image", type=Path, metavar="IMAGE", help="a scene, 100 % of it")
    data.add_argument("--gsd-m", type=float, default=0.3, help="metres on the ground a pixel")
    data.add_argument("--device", choices=("auto", "cpu"), default="auto", help="where to work")
    data.add_argument("--out", type=Path, help="folder to write to")


def command(work=lambda values, console: None) -> Command:
    return Command("Map a scene.", ("toy map scene.tif --out maps",), options, work)


def failing(error: BaseException) -> Command:
    def work(values, console):
        raise error

    return command(work)


FAMILY = Family("A toy.", ("toy map scene.tif",), {"map": Verb("map a scene", command)})


def test_help_starts_with_an_example_and_ends_with_the_exit_codes(capsys):
    assert run("toy map", command(), ["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("examples:\n  toy map scene.tif --out maps\n")
    assert "130, 143" in text.splitlines()[-1]
    assert "100 % of it" in text
    assert "(default: 0.3)" in text
    assert "usage: toy map IMAGE [options]" in text
    assert "_" not in text
    assert "--gsd-m X " in text


def test_help_of_a_family_lists_its_verbs(capsys):
    assert run("toy", FAMILY, ["-h"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("examples:")
    assert "  map  map a scene" in text


@pytest.mark.parametrize("spelling", [["--gsd-m", "0.2"], ["--gsd_m", "0.2"], ["--gsd_m=0.2"]])
def test_dashes_and_underscores_are_both_accepted(spelling):
    seen = []
    run("toy map", command(lambda values, console: seen.append(values.gsd_m)), ["a.tif", *spelling])
    assert seen == [0.2]


def test_values_keep_their_underscores():
    assert dashed(["--run_name=my_run", "a_b.tif"]) == ["--run-name=my_run", "a_b.tif"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.tif", "--gsd-n", "1"], "toy map: no option --gsd-n; did you mean --gsd-m?"),
        (["a.tif", "--gsd", "1"], "toy map: no option --gsd; did you mean --gsd-m?"),
        (["a.tif", "--gsd-m", "x"], "toy map: --gsd-m: 'x' is not a number"),
        (
            ["a.tif", "--device", "cqu"],
            "toy map: --device: 'cqu' is not one of auto, cpu; did you mean cpu?",
        ),
        ([], "toy map: missing IMAGE"),
        (["a.tif", "b.tif"], "toy map: unexpected b.tif (toy map --help)"),
    ],
)
def test_a_wrong_word_gets_one_line_that_names_the_way_out(words, told, capsys):
    assert run("toy map", command(), words) == 2
    seen = capsys.readouterr()
    assert seen.err == f"error: {told}\n"
    assert seen.out == ""


def test_a_mistyped_verb_gets_the_nearest(capsys):
    assert run("toy", FAMILY, ["mpa"]) == 2
    assert "no verb 'mpa'; did you mean map? (there are: map)" in capsys.readouterr().err


def test_a_family_without_default_asks_which(capsys):
    assert run("toy", FAMILY, []) == 2
    assert "which verb? map" in capsys.readouterr().err


def test_the_exit_code_of_an_error_is_that_of_the_command(capsys):
    error = RasterError("a.tif ends too early")
    assert run("toy", failing(error), ["a.tif"]) == 2
    error.exit_code = 4
    assert run("toy", failing(error), ["a.tif"]) == 4
    assert capsys.readouterr().err == "error: a.tif ends too early\n" * 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file", "a.tif"), "a.tif: no such file or folder"),
        (PermissionError(13, "Denied", "a.tif"), "a.tif: not permitted"),
        (OSError(28, "Full", "a.tif"), "no space left to write a.tif: free the disk and run again"),
        (FileExistsError("maps exists already"), "maps exists already"),
        (NotADirectoryError(20, "Not a directory", "a"), "a: not a directory"),
    ],
)
def test_files_that_fail_are_named(error, told, capsys):
    assert run("toy", failing(error), ["a.tif"]) == 2
    assert capsys.readouterr().err == f"error: {told}\n"


def test_the_unforeseen_is_one_line_and_its_traceback_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEOVISION_CACHE", str(tmp_path))
    assert run("toy", failing(ZeroDivisionError("no pixels")), ["a.tif"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: toy failed: ZeroDivisionError: no pixels"
    log = Path(second.partition("story: ")[2])
    assert log.is_relative_to(tmp_path)
    assert "Traceback" in log.read_text()


def test_debug_shows_the_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEOVISION_CACHE", str(tmp_path))
    assert run("toy", failing(ZeroDivisionError()), ["a.tif", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(capsys):
    assert run("toy", failing(KeyboardInterrupt()), ["a.tif"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_json_is_one_document_also_on_failure(capsys):
    def work(values, console):
        print("a library talks")
        console.say("working")
        console.answer({"maps": [values.image]}, "1 map")
        return 3

    assert run("toy", command(work), ["a.tif", "--json"]) == 3
    seen = capsys.readouterr()
    assert json.loads(seen.out) == {"maps": ["a.tif"]}
    assert "a library talks" in seen.err

    missing = FileNotFoundError(2, "No such file", "a.tif")
    for words in (["a.tif", "--json"], ["--json", "--nothing"]):
        assert run("toy", failing(missing), words) == 2
        failure = json.loads(capsys.readouterr().out)["error"]
        assert failure.keys() == {"code", "message", "file", "hint"}
        assert failure["code"] == 2


def test_nothing_is_added_to_an_answer_given_before_the_failure(capsys):
    def work(values, console):
        console.answer([1], "one")
        raise RasterError("too late")

    assert run("toy", command(work), ["a.tif", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == [1]


def test_a_command_may_write_its_json_to_a_file(capsys):
    def with_file(parser):
        options(parser)
        parser.add_argument("--json", nargs="?", const=True, type=Path)

    def work(values, console):
        console.answer({"iou": 1}, f"to {values.json}")

    toy = Command("Toy.", (), with_file, work)
    assert run("toy", toy, ["a.tif", "--json", "scores.json"]) == 0
    assert capsys.readouterr().out == "to scores.json\n"
    assert run("toy", toy, ["a.tif", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"iou": 1}


def test_quiet_leaves_the_answer_and_the_errors(capsys):
    def work(values, console):
        console.say("reading")
        console.warn("crs", "no CRS")
        assert list(console.track([1, 2], "reading")) == [1, 2]
        console.answer(1, "one")

    assert run("toy", command(work), ["a.tif", "-q"]) == 0
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("one\n", "")


def test_versions_are_told_without_importing(capsys):
    assert versions("urbanvision").keys() >= {"gv-data", "torch", "rasterio", "GDAL", "Python"}
    assert next(iter(versions("urbanvision"))) == "urbanvision"
    assert run("gv-data", FAMILY, ["--version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gv-data"] == "0.1.0"


def test_the_first_warnings_of_a_kind_are_printed_and_all_counted(capsys):
    console = Console()
    for name in "abcde":
        console.warn("crs", f"{name}.tif has no CRS")
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [f"warning: {name}.tif has no CRS" for name in "abc"]
    assert said[3:] == ["more warnings of the kind crs are not shown (--verbose shows all)"]
    assert console.warnings == {"crs": 5}


def test_colour_obeys_the_environment(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert paint("error", "red", sys.stderr) == "\033[31merror\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("error", "red", sys.stderr) == "error"


def test_a_log_gets_whole_lines_and_at_most_1_kb_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(voice.time, "monotonic", lambda: now[0])
    with Console().working("training", total=36_000, unit="steps") as meter:
        assert capsys.readouterr().err.endswith("training 36,000 steps\n")
        for _ in range(3600):  # an hour, ten steps a second
            now[0] += 1.0
            meter.advance(10, "loss 0.241 val_iou 0.713")
    lines = capsys.readouterr().err.splitlines()
    assert 60 <= len(lines) <= 70
    assert lines[0].endswith("training 600/36,000 steps loss 0.241 val_iou 0.713 eta 59 min 00 s")


def test_quick_work_leaves_few_lines_in_a_log(capsys):
    assert sum(Console().track(range(1000), "adding", unit="numbers")) == 499_500
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_importing_the_house_style_is_light():
    script = "import gv_data.terminal.command, gv_data.terminal.caller, sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not HEAVY & {name.partition(".")[0] for name in told.stdout.split()}


TOY = """
import sys, time
from gv_data.terminal.command import Command, run
def work(values, console):
    console.say("ready")
    {work}
sys.exit(run("toy", Command("Toy.", (), lambda parser: None, work)))
"""


def test_sigterm_ends_with_143():
    script = TOY.format(work="time.sleep(30)")
    toy = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert toy.stderr is not None
    assert toy.stderr.readline() == "ready\n"
    toy.send_signal(signal.SIGTERM)
    assert toy.wait(10) == 143
    assert toy.stderr.read() == "error: stopped by SIGTERM\n"
    toy.stderr.close()


def test_a_closed_pipe_ends_quietly():
    script = TOY.format(work="[console.answer(n, 'x' * 1000) for n in range(1000)]")
    toy = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert toy.stdout is not None
    assert toy.stderr is not None
    toy.stdout.read(10)
    toy.stdout.close()
    assert toy.stderr.read() == b"ready\n"
    assert toy.wait(10) == 0
    toy.stderr.close()


def test_a_bar_is_drawn_on_a_terminal():
    pty = pytest.importorskip("pty")
    script = TOY.format(work="[time.sleep(0.01) for _ in console.track(range(9), 'reading')]")
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    toy = subprocess.Popen([sys.executable, "-c", script], stderr=follower, env=environment)
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
    os.close(leader)
    assert toy.wait(10) == 0
    assert b"9/9" in seen
    assert b"\r" in seen or b"\x1b[" in seen


@pytest.mark.parametrize(
    ("parent", "argv", "said"),
    [
        ("uv run --package urbanvision train", "/x/train", "uv run urbanvision predict"),
        ("uv run --package=urbanvision -- train", "/x/train", "uv run urbanvision predict"),
        ("uv run --no-sync train list", "/x/train list", "uv run --no-sync urbanvision predict"),
        ("uv --directory /w run train", "/x/train", "uv run --directory /w urbanvision predict"),
        (
            "uv run --extra cuda --package urbanvision train",
            "/x/train",
            "uv run --extra cuda --package urbanvision urbanvision predict",
        ),
        (
            "uv run --index-url https://me:secret@host/simple train",
            "/x/train",
            "uv run urbanvision predict",
        ),
        ("uv tool uvx urbanvision train", "/x/urbanvision train", "uvx urbanvision predict"),
        (
            "uv tool uvx --from urbanvision train",
            "/x/train",
            "uvx --from urbanvision urbanvision predict",
        ),
        ("-bash", "train", "urbanvision predict"),
        ("uv run pytest", "train", "urbanvision predict"),
    ],
)
def test_the_next_command_is_said_in_the_callers_form(parent, argv, said):
    assert read_caller([parent.split()], argv.split()).command("urbanvision", "predict") == said


def test_another_script_of_a_tool_run_names_its_package():
    caller = read_caller(
        [["uv", "tool", "uvx", "urbanvision", "train"]], ["/x/urbanvision", "train"]
    )
    assert caller.command("gv-train", "live") == "uvx --from urbanvision gv-train live"


def test_a_script_off_the_path_is_said_with_its_path(tmp_path):
    (tmp_path / "toy-unknown").touch()
    assert Caller(script=f"{tmp_path}/train").command("toy-unknown", "a b") == (
        f"{tmp_path}/toy-unknown 'a b'"
    )


def test_the_package_is_found_through_a_shell_and_not_in_our_own_options():
    shell = ["bash", "-c", "train"]
    line = ["uv", "run", "--package", "urbanvision", "bash", "-c", "train"]
    assert read_caller([shell, line], ["/x/train"]).package == "urbanvision"
    line = ["uv", "run", "train", "--package", "wrong"]
    assert read_caller([line], ["/x/train", "--package", "wrong"]).package is None


def test_the_real_parent_is_read():
    script = "from gv_data.terminal.caller import caller; print(caller())"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith("Caller(")
