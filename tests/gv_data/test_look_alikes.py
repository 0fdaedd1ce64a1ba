"""Which images look the same, in one part or in two, and on which ground."""

import numpy as np
import pyarrow as pa
import pytest
from affine import Affine

from gv_data import index
from gv_data.catalog import Catalog
from gv_data.checks.hashes import TURNS, turned
from gv_data.checks.look_alikes import DISTANCE_MAX, look_alikes
from gv_data.errors import CatalogError
from gv_data.store import table_files, tables

RNG = np.random.default_rng(5)
NEW, OTHER = RNG.integers(0, 2**64, 2, dtype=np.uint64).tolist()


@pytest.fixture
def made(tif, tmp_path):
    """A catalog whose images, side by side, have the hashes and parts that are given."""

    def make(hashes: dict[str, int | None], parts: dict[str, str], same_ground=()) -> Catalog:
        files = []
        for n, name in enumerate(hashes):
            place = 0 if name in same_ground else 100 * (n + 1)
            values = RNG.integers(1, 255, (1, 8, 8), dtype=np.uint8)
            transform = Affine(0.5, 0, 500_000 + place, 0, -0.5, 3_000_000)
            files.append(tif(f"images/{name}.tif", values, transform=transform))
        catalog = index(files, tmp_path / "c").catalog
        rows = table_files.Rows.read(catalog.path)
        ids = rows.columns["id"].to_pylist()
        column = pa.array([parts.get(id) for id in ids], pa.string())
        table_files.write_images(catalog.path, rows.with_column("split", column))
        table = pa.table(
            {
                "id": list(hashes),
                "hash": pa.array(list(hashes.values()), pa.uint64()),
                "bytes": [0] * len(hashes),
                "modified_ns": [0] * len(hashes),
            },
            tables.HASHES,
        )
        table_files.write_table(catalog.path, "hashes", tables.HASHES, [table])
        return Catalog.open(catalog.path)

    return make


def said(found) -> list[tuple[str, int, bool, bool]]:
    return [(str(pair), pair.distance, pair.leaks, pair.same_ground) for pair in found.pairs]


def test_copies_between_parts_are_leaks_and_come_first(made):
    hashes = {"a": NEW, "b": NEW ^ 0b11, "c": OTHER, "d": OTHER, "e": NEW ^ (2**60 - 1)}
    found = look_alikes(made(hashes, {"a": "train", "b": "val", "c": "train", "d": "train"}))
    assert said(found) == [("a + b", 2, True, False), ("c + d", 0, False, False)]
    assert (found.compared, found.plain, found.parts) == (5, 0, ("train", "val"))


def test_the_limit_is_a_number_of_bits(made):
    near = NEW ^ (2**DISTANCE_MAX - 1)
    far = NEW ^ ((2 ** (DISTANCE_MAX + 1) - 1) << 20)
    found = look_alikes(made({"a": NEW, "b": near, "c": far}, {}))
    assert said(found) == [("a + b", DISTANCE_MAX, False, False)]


def test_images_without_a_part_leak_nothing(made):
    found = look_alikes(made({"a": NEW, "b": NEW}, {"a": "train"}))
    assert said(found) == [("a + b", 0, False, False)]


def test_images_without_a_hash_are_counted_and_left_out(made):
    found = look_alikes(made({"a": None, "b": None, "c": NEW}, {}))
    assert (said(found), found.compared, found.plain) == ([], 1, 2)


def test_a_hundred_copies_are_as_many_pairs_and_no_more(made):
    copies = {f"t{n:02}": NEW for n in range(60)} | {f"v{n:02}": NEW ^ 1 for n in range(40)}
    found = look_alikes(made(copies, {name: name[0] for name in copies}))
    leaks = [pair for pair in found.pairs if pair.leaks]
    assert {id for pair in leaks for id in pair.ids} == set(copies)
    assert len(leaks) <= 100
    # each but the first of a part is in a pair with one before it
    rest = [pair for pair in found.pairs if not pair.leaks]
    assert sorted(pair.ids[1] for pair in rest) == sorted(set(copies) - {"t00", "v00"})


def test_each_image_is_told_its_nearest(made):
    hashes = {"a": NEW, "b": NEW ^ 0b111, "v": NEW ^ 0b110}
    found = look_alikes(made(hashes, {"a": "train", "b": "train", "v": "val"}))
    assert said(found)[0] == ("b + v", 1, True, False)


def test_zooms_of_one_ground_are_told_apart_from_copies(made):
    hashes = {"a": NEW, "b": NEW, "c": OTHER, "d": OTHER}
    found = look_alikes(made(hashes, {}, same_ground=("a", "b")))
    assert said(found) == [("a + b", 0, False, True), ("c + d", 0, False, False)]


@pytest.mark.parametrize("turn", TURNS[1:])
def test_turned_copies_are_found_when_asked_for(made, turn):
    laid = int(turned(np.array([NEW], np.uint64), turn)[0])
    catalog = made({"a": NEW, "b": laid}, {})
    assert said(look_alikes(catalog)) == []
    assert said(look_alikes(catalog, turns=True)) == [("a + b", 0, False, False)]


def test_parts_may_be_any_sql_over_columns(made):
    catalog = made({"a": NEW, "b": NEW}, {})
    found = look_alikes(catalog, "CASE WHEN id = 'a' THEN 1 ELSE 2 END")
    assert [pair.parts for pair in found.pairs] == [("1", "2")]
    with pytest.raises(CatalogError, match="fold"):
        look_alikes(catalog, "fold")
