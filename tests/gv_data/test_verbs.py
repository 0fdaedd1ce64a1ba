"""The verbs that ask, measure, update and remove, as people type them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gv_data.catalog import Catalog

RNG = np.random.default_rng(3)
SCENES = {f"t{n}": RNG.integers(1, 255, (3, 40, 50), dtype=np.uint8) for n in range(3)}


@pytest.fixture
def images(tif, tmp_path) -> Path:
    for name, values in SCENES.items():
        tif(f"images/{name}.tif", values)
    return tmp_path / "images"


@pytest.fixture
def catalog(command, images, tmp_path) -> Path:
    assert command("index", images, "--place", "town", "--out", tmp_path / "c")[0] == 0
    return tmp_path / "c"


def test_sql_prints_a_table_with_numbers_to_the_right(command, catalog):
    code, told, _ = command("sql", catalog, "SELECT place, count(*) AS n FROM images GROUP BY 1")
    assert code == 0
    assert told == "place  n\ntown   3\n"


def test_sql_gives_csv_json_and_parquet_with_the_same_values(command, catalog, tmp_path):
    query = "SELECT id, gsd_m, NULL AS nothing, bands, 1.0/0 AS much FROM images ORDER BY id"
    rows = json.loads(command("sql", catalog, query, "--json")[1])
    assert rows[0] == {
        "id": "town/t0",
        "gsd_m": pytest.approx(0.5, rel=1e-3),
        "nothing": None,
        "bands": ["red", "green", "blue"],
        "much": None,
    }
    text = command("sql", catalog, query, "--csv")[1]
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in table] == ["town/t0", "town/t1", "town/t2"]
    assert float(table[0]["gsd_m"]) == rows[0]["gsd_m"]
    code, told, _ = command("sql", catalog, query, "--parquet", tmp_path / "answer.parquet")
    assert code == 0
    assert "3 rows" in told
    assert pq.read_table(tmp_path / "answer.parquet")["id"].to_pylist() == [r["id"] for r in rows]


def test_sql_asks_a_view_with_own_tables(command, catalog, tmp_path):
    (tmp_path / "marks.csv").write_text("id,mark\ntown/t1,5\n")
    code, told, _ = command(
        "sql", catalog, "SELECT id, mark FROM images JOIN marks USING (id)",
        "--where", "id <> 'town/t0'", "--table", f"marks={tmp_path / 'marks.csv'}",
    )  # fmt: skip
    assert (code, told.splitlines()[1].split()) == (0, ["town/t1", "5"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing FROM images", "columns of images: id, image"),
        ("DELETE FROM images", "ask with SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
    ],
)
def test_what_sql_cannot_do_is_said_in_a_line(query, said, command, catalog):
    code, told, narrated = command("sql", catalog, query)
    assert (code, told) == (2, "")
    assert said in narrated


def test_sql_without_a_question_gives_an_example(command, catalog):
    code, _, narrated = command("sql", catalog)
    assert code == 2
    assert "for example" in narrated


def test_measure_does_what_is_missing_and_says_so(command, images, tmp_path):
    out = tmp_path / "unmeasured"
    assert command("index", images, "--no-measure", "--out", out)[0] == 0
    assert "values" not in command("info", out)[1]
    code, told, _ = command("measure", out)
    assert code == 0
    assert "measured   3 images, 0 had not changed" in told
    assert "measured   0 images, 3 had not changed" in command("measure", out)[1]
    pixels = np.concatenate([v.reshape(3, -1) for v in SCENES.values()], axis=1)
    np.testing.assert_allclose(Catalog.open(out).statistics.mean, pixels.mean(axis=1))


def test_measure_ends_with_3_when_an_image_is_broken(command, catalog, images):
    (images / "t1.tif").write_bytes(b"II*\0 cut")
    code, told, _ = command("measure", catalog, "--json")
    answer = json.loads(told)
    assert code == 3
    assert [failed["id"] for failed in answer["failed"]] == ["town/t1"]
    assert command("sql", catalog, "SELECT count(*) AS n FROM errors")[1].split() == ["n", "1"]


def test_update_takes_what_is_new_and_what_has_changed(command, catalog, images, tif):
    words = ("index", images, "--place", "town", "--update", "--out", catalog)
    assert "none is new or has changed" in command(*words)[1]
    tif("images/t1.tif", SCENES["t1"][:, :20])
    tif("images/t9.tif", SCENES["t0"])
    code, told, _ = command(*words, "--json")
    assert (code, json.loads(told)["images"]) == (0, 2)
    rows = Catalog.open(catalog).sql("SELECT id, height_px FROM images ORDER BY id").to_pylist()
    assert [(row["id"], row["height_px"]) for row in rows] == [
        ("town/t0", 40), ("town/t1", 20), ("town/t2", 40), ("town/t9", 40),
    ]  # fmt: skip
    pixels = [SCENES["t0"], SCENES["t1"][:, :20], SCENES["t2"], SCENES["t0"]]
    values = np.concatenate([v.reshape(3, -1) for v in pixels], axis=1)
    np.testing.assert_allclose(Catalog.open(catalog).statistics.mean, values.mean(axis=1))


def test_update_tries_broken_files_again(command, catalog, images, tif):
    (images / "t1.tif").write_bytes(b"II*\0 cut")
    words = ("index", images, "--place", "town", "--update", "--out", catalog)
    tif("images/t9.tif", SCENES["t0"])
    assert command(*words)[0] == 3
    assert len(Catalog.open(catalog)) == 3
    tif("images/t1.tif", SCENES["t1"])
    assert command(*words)[0] == 0
    assert len(Catalog.open(catalog)) == 4


def test_remove_takes_rows_and_leaves_files(command, catalog, images):
    code, told, _ = command("remove", catalog, "--where", "id = 'town/t1'")
    assert code == 0
    assert "1 images removed" in told
    assert len(Catalog.open(catalog)) == 2
    assert (images / "t1.tif").exists()
    found = command("sql", catalog, "SELECT count(DISTINCT id) AS n FROM statistics")[1]
    assert found.split() == ["n", "2"]


def test_remove_wants_to_know_which(command, catalog):
    code, _, narrated = command("remove", catalog)
    assert code == 2
    assert "which images" in narrated


def test_sql_writes_over_nothing_unasked_and_never_into_the_catalog(command, catalog, tmp_path):
    file = tmp_path / "answer.parquet"
    ask = ("sql", catalog, "SELECT 1 AS a", "--parquet")
    assert command(*ask, file)[0] == 0
    before = file.read_bytes()
    code, told, narrated = command("sql", catalog, "SELECT 2 AS b", "--parquet", file)
    assert (code, told, file.read_bytes()) == (2, "", before)
    assert "--overwrite" in narrated
    assert command("sql", catalog, "SELECT 2 AS b", "--parquet", file, "--overwrite")[0] == 0
    assert pq.read_table(file).to_pylist() == [{"b": 2}]
    (tmp_path / "linked").symlink_to(catalog)
    kept = {one.name: one.read_bytes() for one in catalog.iterdir()}
    for inside in (
        catalog / "images.parquet",
        catalog / "new.parquet",
        tmp_path / "linked" / "images.parquet",
        catalog / "deeper" / ".." / "images.parquet",
    ):
        code, _, narrated = command(*ask, inside, "--overwrite")
        assert code == 2
        assert "folder of the catalog" in narrated
    assert {one.name: one.read_bytes() for one in catalog.iterdir()} == kept


def test_sql_shows_columns_of_one_name_beside_each_other(command, catalog, tmp_path):
    query = "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a"
    row = {"a": 1, "a_2": 2, "a_1": 3, "a_3": 4}
    assert command("sql", catalog, query)[1] == "a  a_2  a_1  a_3\n1    2    3    4\n"
    assert json.loads(command("sql", catalog, query, "--json")[1]) == [row]
    assert command("sql", catalog, query, "--csv")[1] == "a,a_2,a_1,a_3\n1,2,3,4\n"
    assert command("sql", catalog, query, "--parquet", tmp_path / "a.parquet")[0] == 0
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [row]


def test_sql_help_names_the_tables_and_the_query(command):
    told = command("sql", "--help")[1]
    usage = next(found for found in told.splitlines() if found.startswith("usage"))
    assert "QUERY" in usage
    assert all(name in told for name in ("images", "statistics", "labels", "hashes", "errors"))
    assert "--overwrite" in told
