"""The cache folder is shown and cleared, and nothing outside of it is ever touched."""

import json
import os
import time
from pathlib import Path

import pytest

from gv_data import atomic

DAY_S = 86_400


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache with a new log of 100 bytes and one of 2,000 that is ten days old."""
    folder = tmp_path / "cache"
    (folder / "logs" / "deep").mkdir(parents=True)
    (folder / "logs" / "new.log").write_bytes(bytes(100))
    old = folder / "logs" / "deep" / "old.log"
    old.write_bytes(bytes(2000))
    long_ago = time.time() - 10 * DAY_S
    os.utime(old, (long_ago, long_ago))
    monkeypatch.setenv("GEOVISION_CACHE", str(folder))
    return folder


def test_kinds_are_listed_with_sizes_and_ages(command, cache):
    code, told, _ = command("cache", "--json")
    answer = json.loads(told)
    assert (code, answer["folder"], answer["others"]) == (0, str(cache), [])
    (logs,) = answer["holdings"]
    assert (logs["kind"], logs["files"], logs["bytes"]) == ("logs", 2, 2100)
    assert logs["newest_s"] < 60
    assert logs["oldest_s"] == pytest.approx(10 * DAY_S, abs=60)
    code, told, _ = command("cache")
    assert (code, told.splitlines()[0]) == (0, f"cache      {cache}")
    assert told.splitlines()[2].split("  ")[0] == "logs"
    assert "2.1 kB" in told
    assert "10 days" in told


def test_a_cache_that_is_not_there_is_empty(command, cache, monkeypatch):
    monkeypatch.setenv("GEOVISION_CACHE", str(cache / "nowhere"))
    assert command("cache")[1].splitlines()[1].strip() == "nothing of ours lies there"
    assert json.loads(command("cache", "--clear", "--json")[1])["files"] == 0
    assert not (cache / "nowhere").exists()


def test_clearing_says_what_it_freed(command, cache):
    code, told, _ = command("cache", "--clear")
    assert (code, told) == (0, f"freed      2.1 kB, 2 files in {cache}\n")
    assert list(cache.rglob("*")) == [cache / "logs"]


def test_only_what_is_old_enough_is_cleared(command, cache):
    answer = json.loads(command("cache", "--clear", "--older-than", "9.5", "--json")[1])
    assert (answer["files"], answer["bytes"]) == (1, 2000)
    assert [file.name for file in (cache / "logs").rglob("*")] == ["new.log"]


def test_what_is_not_ours_stays(command, cache):
    (cache / "thesis").mkdir()
    (cache / "thesis" / "chapter.tex").write_text("so far")
    assert "not ours   thesis" in command("cache")[1]
    assert command("cache", "--clear")[0] == 0
    assert (cache / "thesis" / "chapter.tex").read_text() == "so far"


def test_links_are_removed_and_never_followed(command, cache, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep")
    (cache / "logs" / "folder").symlink_to(outside)
    (cache / "logs" / "file").symlink_to(outside / "precious.txt")
    assert json.loads(command("cache", "--clear", "--json")[1])["files"] == 4
    assert (outside / "precious.txt").read_text() == "keep"
    assert list((cache / "logs").iterdir()) == []


def test_a_kind_that_is_a_link_is_left_alone(command, cache, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.arrows").write_text("keep")
    (cache / "journals").symlink_to(outside)
    assert json.loads(command("cache", "--json")[1])["others"] == ["journals"]
    assert command("cache", "--clear")[0] == 0
    assert (outside / "a.arrows").read_text() == "keep"
    assert (cache / "journals").is_symlink()


def test_a_journal_that_is_being_written_stays(command, cache):
    folder = cache / "journals" / "0123"
    folder.mkdir(parents=True)
    written = folder / f".statistics.{atomic.owner()}.arrows"
    left = folder / f".statistics.{2**22 + 1}-{atomic.owner().partition('-')[2]}.arrows"
    for journal in (written, left):
        journal.write_bytes(b"rows")
    assert command("cache", "--clear")[0] == 0
    assert list(folder.iterdir()) == [written]


def test_a_file_that_cannot_be_removed_is_told(command, cache, monkeypatch):
    unlink = os.unlink

    def refuse(name, **where):
        if name == "old.log":
            raise PermissionError(13, "Permission denied")
        unlink(name, **where)

    monkeypatch.setattr(os, "unlink", refuse)
    code, told, _ = command("cache", "--clear")
    assert code == 3
    assert "refused    old.log: Permission denied" in told
    assert not (cache / "logs" / "new.log").exists()


@pytest.mark.parametrize("words", [["--older-than", "3"], ["--clear", "--older-than", "-1"]])
def test_wrong_options_remove_nothing(command, cache, words):
    assert command("cache", *words)[0] == 2
    assert len(list(cache.rglob("*.log"))) == 2
