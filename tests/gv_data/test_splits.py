"""Splits of catalogs without files of pixels: parts keep apart and get their shares."""

import subprocess
import sys
import threading
from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.splitting.shared_ground import find_shared_ground
from gv_data.splitting.splits import Shares, Split, split_blocks, split_groups, split_images
from gv_data.store import table_files
from gv_data.store.tables import LABELS

UTM = CRS(32637)
NOWHERE = Grid(None, Affine.identity(), 64, 64)


def tile(column, row, *, px=64, gsd=0.5, crs=UTM, origin=(500_000.0, 3_000_000.0)) -> Grid:
    """A tile of a mosaic: columns eastwards, rows southwards; numbers need not be whole."""
    side = px * gsd
    west, north = origin[0] + column * side, origin[1] - row * side
    return Grid(crs, Affine(gsd, 0, west, 0, -gsd, north), px, px)


def mosaic(columns: int, rows: int, **kind) -> list[Grid]:
    return [tile(n % columns, n // columns, **kind) for n in range(columns * rows)]


def local(grid: Grid, centre: tuple[float, float]) -> shapely.Polygon:
    """A grid's ground in metres around a place, its sides drawn through many points."""
    steps = np.linspace(0, 1, 33)[:-1]
    sides = [(steps, 0 * steps), (1 + 0 * steps, steps), (1 - steps, 1 + 0 * steps),
             (0 * steps, 1 - steps)]  # fmt: skip
    across, down = np.concatenate(sides, axis=1) * np.array(grid.shape_hw[::-1])[:, None]
    t = grid.transform
    flat = CRS(f"+proj=aeqd +lat_0={centre[1]} +lon_0={centre[0]} +datum=WGS84")
    moved = Transformer.from_crs(grid.crs, flat, always_xy=True).transform(
        t.c + t.a * across, t.f + t.e * down
    )
    return shapely.Polygon(np.stack(moved, axis=1))


@st.composite
def scenes(draw) -> tuple[tuple[float, float], list[Grid]]:
    """Images of several CRSs and sizes around a place, nested, overlapping and apart."""
    places = [(39, -6), (0.1, 51), (-70, 0), (25, 69.5), (179.5, -17), (179.985, -17)]
    lon, lat = draw(st.sampled_from(places))
    zone = int((lon + 180) // 6) + 1
    systems = [CRS((32600 if lat >= 0 else 32700) + zone), CRS(3857), CRS(4326)]
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    grids = []
    for _ in range(draw(st.integers(12, 40))):
        crs = systems[draw(st.integers(0, 2))]
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(
            lon + rng.uniform(0, 0.03), lat + rng.uniform(0, 0.01)
        )
        unit = 1 / 111_000 if crs.is_geographic else 1
        gsd, px = rng.choice([0.5, 1, 4]) * unit, int(rng.integers(40, 120))
        grids.append(Grid(crs, Affine(gsd, 0, x, 0, -gsd, y), px, px))
    nested = [g.scaled(2, 2).part(3, 5, 12, 9) for g in grids[::5]]
    return (lon, lat), grids + nested


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scene=scenes(),
    buffer_m=st.sampled_from([0, 15, 200]),
    block_m=st.sampled_from([None, 150, 600]),
    folds=st.booleans(),
    seed=st.integers(0, 5),
)
def test_parts_keep_apart_whatever_images_do(catalog_of, scene, buffer_m, block_m, folds, seed):
    centre, grids = scene
    shares = Shares.folds(3) if folds else Shares.holdout()
    try:
        split = split_blocks(
            catalog_of(grids), shares, block_m=block_m, buffer_m=buffer_m, seed=seed
        )
    except CatalogError as error:  # the buffer may reach over the whole scene
        reject() if "leave no image" in str(error) else pytest.fail(str(error))
    assert split.shared == ()
    assert set(split.parts) - {-1} == {0, 1, 2}
    ground = [local(grid, centre) for grid in grids]
    apart = [(a, b) for a, b in combinations(range(len(grids)), 2)
             if -1 < split.parts[a] != split.parts[b] > -1]  # fmt: skip
    for a, b in apart:
        assert ground[a].distance(ground[b]) >= buffer_m * 0.999 - 0.01
        half_m = min(grids[a].gsd_m, grids[b].gsd_m) / 2  # less deep is rounding
        assert ground[a].intersection(ground[b]).buffer(-0.51 * half_m).is_empty
    # who was left out lies near to others, or is longer than a block and so lay near to some
    near = 1.001 * buffer_m + 0.01
    for n in np.flatnonzero(split.parts < 0):
        others = [other for m, other in enumerate(ground) if m != n]
        assert shapely.distance(ground[n], others).min() <= near


def test_zooms_and_dates_of_one_ground_come_into_one_part(catalog_of):
    grids = []
    for n in range(30):
        large = tile(3 * n, 0, px=256)
        grids += [large, large, large.scaled(0.5, 0.5), large.part(0, 0, 128, 128)]
        grids += [large.part(128, 100, 128, 128).scaled(0.25, 0.25)]
    split = split_blocks(catalog_of(grids), block_m=200, buffer_m=5)
    parts = split.parts.reshape(-1, 5)
    assert (parts == parts[:, :1]).all()
    assert (parts >= 0).all()
    assert sorted(portion.images for portion in split.portions) == [20, 25, 105]


def test_a_mosaic_of_overlapping_images_is_cut_between_blocks(catalog_of):
    grids = [tile(n % 20 * 0.5, n // 20 * 0.5) for n in range(400)]
    split = split_blocks(catalog_of(grids), block_m=100, buffer_m=0)
    assert split.shared == ()
    assert split.left_out < 150
    for portion in split.portions:
        assert abs(portion.share - portion.wanted) < 0.05


def test_an_image_that_covers_all_others_gives_way(catalog_of):
    grids = [*mosaic(12, 12, px=32), tile(0, 0, px=800)]
    split = split_blocks(catalog_of(grids), block_m=64, buffer_m=0)
    assert split.of["image144"] is None
    assert split.left_out == 1


def test_shares_are_met_where_blocks_are_many(catalog_of):
    rng = np.random.default_rng(0)
    grids = [tile(x, y) for x, y in rng.uniform(0, 400, (300, 2)).round() * 2]
    labels = rng.poisson(4, 300)
    split = split_blocks(
        catalog_of(grids, objects=labels), Shares.holdout(0.2, 0.1), block_m=200, buffer_m=1
    )
    for portion, wanted in zip(split.portions, (0.7, 0.2, 0.1), strict=True):
        assert abs(portion.share - wanted) < 0.01
        assert abs(portion.labels_share - wanted) < 0.01
        assert portion.labels == labels[split.parts == split.shares.names.index(portion.name)].sum()


def test_blocks_lie_on_both_sides_of_the_antimeridian(catalog_of):
    fiji = CRS(3460)
    west, south = Transformer.from_crs(4326, fiji, always_xy=True).transform(179.99999, -17)
    near = [Grid(fiji, Affine(1, 0, west - 50, 0, -1, south), 50, 50)]
    east = Transformer.from_crs(4326, fiji, always_xy=True).transform(-179.99998, -17)[0]
    near += [Grid(fiji, Affine(1, 0, east, 0, -1, south), 50, 50)]
    far = [Grid(fiji, Affine(1, 0, west - 3000 * n, 0, -1, south), 50, 50) for n in (1, 2, 3)]
    catalog = catalog_of(near + far)
    assert catalog.bounds[0] > 179.9
    assert catalog.bounds[2] < -179.9
    for seed in range(4):
        parts = split_blocks(catalog, block_m=20, buffer_m=10, seed=seed).parts
        assert parts[0] == parts[1] or min(parts[:2]) == -1


@pytest.fixture
def fields(catalog_of) -> Catalog:
    """200 images of 25 fields in 4 years, of 4 crops."""
    rng = np.random.default_rng(3)
    field = rng.integers(0, 25, 200)
    return catalog_of(
        [tile(2 * n, 0) for n in range(200)],
        field=[f"f{n}" for n in field],
        year=(2018 + field % 4).tolist(),
        crop=rng.choice(["wheat", "maize", "rice", "hop"], 200, p=[0.5, 0.3, 0.15, 0.05]).tolist(),
        objects=rng.poisson(3, 200).tolist(),
    )


def column(catalog: Catalog, name: str) -> np.ndarray:
    values = catalog.sql(f"SELECT {name} AS value FROM images ORDER BY id")["value"]
    return np.array(values.to_pylist())


def test_groups_stay_whole_and_meet_the_shares(fields):
    split = split_groups(fields, "field", stratify="crop")
    names = column(fields, "field")
    assert all(len(set(split.parts[names == name])) == 1 for name in set(names))
    assert split.left_out == 0
    for portion in split.portions:
        assert abs(portion.share - portion.wanted) < 0.02
    (crops,) = split.mixes
    assert max(crops.divergence) < 0.01


def test_folds_of_groups_hold_each_group_once_and_are_of_one_size(fields):
    split = split_groups(fields, "field", Shares.folds(5))
    assert split.column == "fold"
    names = column(fields, "field")
    folds = [set(names[split.parts == n]) for n in range(5)]
    assert sum(map(len, folds)) == len(set(names))
    assert max(abs(portion.images - 40) for portion in split.portions) <= 2


def test_groups_may_be_sql_over_columns(fields):
    split = split_groups(fields, "year % 2", Shares.holdout(0.5, 0))
    years = column(fields, "year")
    assert len(set(split.parts[years % 2 == 0])) == len(set(split.parts[years % 2 == 1])) == 1


def test_images_one_by_one_get_their_share_of_every_kind(fields):
    split = split_images(fields, Shares.holdout(0.2, 0.1), stratify="crop")
    assert [portion.images for portion in split.portions] == [140, 40, 20]
    crops = column(fields, "crop")
    for name, count in Counter(crops.tolist()).items():
        for part, share in enumerate((0.7, 0.2, 0.1)):
            assert abs(np.sum(split.parts[crops == name] == part) - share * count) < 2


def test_numbers_are_shared_out_by_quantiles(fields):
    split = split_images(fields, Shares.folds(4))  # no label: by the number of labels
    labels = column(fields, "objects")
    edges = np.unique(np.quantile(labels, [0.2, 0.4, 0.6, 0.8], method="lower"))
    kind = np.searchsorted(edges, labels)
    for n in range(4):
        taken = np.bincount(kind[split.parts == n], minlength=len(edges) + 1)
        assert np.abs(taken - np.bincount(kind) / 4).max() < 2
    (mix,) = split.mixes
    assert [sum(part) for part in mix.amounts] == [50] * 4


def test_the_column_label_is_shared_out_unasked(catalog_of):
    labels = ["forest"] * 60 + ["lake"] * 40
    catalog = catalog_of([NOWHERE] * 100, label=labels)
    split = split_images(catalog)
    (mix,) = split.mixes
    assert (mix.of, mix.names) == ("images by label", ("forest", "lake"))
    assert mix.amounts == ((42, 28), (9, 6), (9, 6))
    assert split.unplaced == 100


def test_too_many_kinds_are_refused(catalog_of):
    with pytest.raises(CatalogError, match="id has 300 values in 300 images, too many kinds"):
        split_images(catalog_of([NOWHERE] * 300), stratify="id")


def test_ground_of_classes_is_shared_out_once_it_is_counted(catalog_of):
    catalog = catalog_of(
        [tile(4 * n, 0) for n in range(60)], place=[f"p{n // 3}" for n in range(60)]
    )
    rng = np.random.default_rng(0)
    m2 = rng.gamma(0.5, 100, (60, 3))
    rows = [
        {"id": f"image{n:03d}", "class": name, "number": k, "pixels": 1, "area_m2": m2[n, k]}
        for n in range(60)
        for k, name in enumerate(("road", "water", "roof"))
    ]
    table_files.write_table(catalog.path, "labels", LABELS, [pa.Table.from_pylist(rows, LABELS)])
    split = split_groups(catalog)
    (mix,) = split.mixes
    assert mix.names == ("road", "roof", "water")
    expected = [m2[split.parts == part][:, [0, 2, 1]].sum(axis=0) for part in range(3)]
    np.testing.assert_allclose(mix.amounts, expected)
    np.testing.assert_allclose(mix.shares.sum(axis=1), 1)
    assert max(mix.divergence) < 0.02


@pytest.mark.parametrize("way", [split_images, split_groups, split_blocks])
def test_seeds_decide_and_row_order_does_not(catalog_of, way):
    places = [f"p{n % 40}" for n in range(120)]
    catalog = catalog_of([tile(4 * (n % 40), 4 * (n // 40)) for n in range(120)], place=places)
    first = way(catalog, seed=1)
    file = catalog.path / "images.parquet"
    table = pq.read_table(file)
    pq.write_table(table.take(np.random.default_rng(0).permutation(120)), file)
    assert way(catalog, seed=1).of == first.of
    assert any(way(catalog, seed=seed).of != first.of for seed in (2, 3, 4))


def test_another_process_splits_alike(fields):
    script = (
        "import sys\nfrom gv_data.splitting.splits import *\nfrom gv_data.catalog import Catalog\n"
        "catalog = Catalog.open(sys.argv[1])\n"
        "for way in (split_images, split_blocks): print(way(catalog, seed=7).parts.tolist())\n"
        "print(split_groups(catalog, 'field', seed=7).parts.tolist())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(fields.path)],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "123"},
    )  # fmt: skip
    ours = [split_images(fields, seed=7), split_blocks(fields, seed=7)]
    ours.append(split_groups(fields, "field", seed=7))
    assert told.stdout.splitlines() == [str(split.parts.tolist()) for split in ours]


def test_a_split_is_written_beside_all_that_was_there(fields):
    before = fields.sql("SELECT * FROM images ORDER BY id")
    split = split_groups(fields, "field")
    split.write()
    after = fields.sql("SELECT * FROM images ORDER BY id")
    assert after["split"].to_pylist() == list(split.of.values())
    assert after.drop_columns(["split"]) == before.drop_columns(["split"])
    assert {portion.name: portion.images for portion in split.portions} == Counter(
        after["split"].to_pylist()
    )
    folds = split_images(fields, Shares.folds(3))
    folds.write()
    assert Catalog.open(fields.path).sql(
        "SELECT fold, split FROM images ORDER BY id"
    ).to_pydict() == {
        "fold": folds.parts.tolist(),
        "split": after["split"].to_pylist(),
    }


def test_what_was_there_is_replaced_only_when_asked(fields):
    split_groups(fields, "field").write()
    other = split_groups(fields, "year", Shares.holdout(0.25, 0))
    with pytest.raises(CatalogError, match=r"200 of 200 images have a split already.*\n.*--overw"):
        other.write()
    other.write(overwrite=True)
    assert column(fields, "split").tolist() == list(other.of.values())


def test_images_outside_the_view_keep_their_part_and_the_view_keeps_away(catalog_of):
    grids = [tile(5 * (n % 10), 5 * (n // 10)) for n in range(100)]
    grids += [grid.part(8, 8, 20, 20) for grid in grids[:50]]  # the same ground again, later
    catalog = catalog_of(grids, split=[None] * 150)
    old = catalog.where("id < 'image100'")
    split_blocks(old, block_m=200).write()
    kept = {id: part for id, part in split_blocks(old, block_m=200).of.items() if part}
    new = split_blocks(catalog.where("split IS NULL AND id >= 'image100'"), block_m=100, seed=9)
    assert new.shared == ()
    below = {f"image1{n:02d}": kept.get(f"image{n:03d}") for n in range(50)}
    assert {id: part for id, part in new.of.items() if below[id]} == {
        id: part for id, part in below.items() if part
    }
    new.write()
    assert find_shared_ground(catalog) == ()
    assert dict(zip(column(catalog, "id"), column(catalog, "split"), strict=True)).items() >= (
        kept.items()
    )
    careless = split_images(catalog.where("id >= 'image100'"))
    assert careless.shared
    with pytest.raises(CatalogError, match=r"share .* m2 of ground.*\n.*--by block"):
        careless.write(overwrite=True)
    careless.write(overwrite=True, allow_overlap=True)
    found = {(frozenset(one.parts), one.area_m2) for one in find_shared_ground(catalog)}
    assert found == {(frozenset(one.parts), one.area_m2) for one in careless.shared}


def test_a_catalog_that_changed_meanwhile_is_left_alone(fields):
    split, other = split_groups(fields, "field"), split_groups(fields, "field", seed=1)
    other.write()
    with pytest.raises(CatalogError, match="has changed since it was split"):
        split.write(overwrite=True)
    assert column(fields, "split").tolist() == list(other.of.values())


def test_writing_waits_for_another_writer(fields):
    split = split_groups(fields, "field")
    writing = threading.Thread(target=split.write)
    with atomic.locked(fields.path):
        writing.start()
        writing.join(timeout=0.3)
        assert writing.is_alive()
        assert set(column(fields, "split")) == {None}
    writing.join(timeout=10)
    assert column(fields, "split").tolist() == list(split.of.values())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda c: split_blocks(c, Shares.holdout(0.9, 0.2)), "got 0.9 and 0.2"),
        (lambda c: split_blocks(c, Shares.holdout(0, 0)), "got 0 and 0"),
        (lambda c: split_blocks(c, Shares.holdout(float("nan"), 0)), "got nan and 0"),
        (lambda c: split_blocks(c, Shares.folds(1)), "at least 2 folds, got 1"),
        (lambda c: split_blocks(c, Shares(("a", "b"), (0.5, 0.4))), "together 1"),
        (lambda c: split_groups(c, "fild"), "columns of images: id,"),
        (lambda c: split_groups(c, "1) FROM images; DROP TABLE images; --"), "query"),
        (lambda c: split_groups(c, "place"), "200 of 200 images have no place"),
        (lambda c: split_groups(c, "year", Shares.folds(5)), "at least 5 values of year, found 4"),
        (lambda c: split_images(c, stratify="bands"), "holds list"),
        (lambda c: split_images(c.where("false")), "there is no image in"),
        (lambda c: split_images(c.where("id < 'image002'")), "at least 3 images, found 2"),
        (lambda c: split_blocks(c, block_m=1e6), "at least 3 blocks of 1,000,000 m"),
        (lambda c: split_blocks(c, block_m=100, buffer_m=1e5), "leave no image for train"),
        (lambda c: split_blocks(c, block_m=-5), "blocks are longer than 0 m"),
        (lambda c: split_blocks(c, buffer_m=float("inf")), "the buffer is 0 m or more"),
        (lambda c: split_images(c, column="transform"), "says something else of an image"),
        (lambda c: split_images(c, column="group"), "choose a plain word"),
        (lambda c: split_images(c, column="a b"), "choose a plain word"),
        (lambda c: split_images(c, column="Split"), "cannot tell Split from the column split"),
        (lambda c: split_images(c, column="year"), "the column year holds int64"),
        (lambda c: split_images(c, Shares.folds(3), column="split"), "3 folds need int32"),
    ],
)
def test_what_cannot_be_split_is_said(fields, ask, said):
    with pytest.raises(CatalogError) as error:
        ask(fields)
    assert said in str(error.value)
    assert set(column(fields, "split")) == {None}


def test_images_without_georeference_lie_in_no_block(catalog_of):
    catalog = catalog_of([NOWHERE, *mosaic(4, 4)])
    with pytest.raises(CatalogError, match=r"1 of 17 images have no georeference(.|\n)*gsd_m > 0"):
        split_blocks(catalog)
    assert isinstance(split_blocks(catalog.where("gsd_m > 0"), buffer_m=0), Split)
