from itertools import combinations
from math import isnan

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from shapely import box

from gv_data.grid import Grid
from gv_data.vectors.polygons import rasterize
from urbanvision import scores
from urbanvision.scores import score

UTM = CRS("EPSG:32737")
WEST, NORTH = 500_000, 9_000_000
GRID = Grid(UTM, Affine(0.5, 0, WEST, 0, -0.5, NORTH), 80, 120)


def roofs(*boxes):
    """Boxes (west, south, east, north) in metres from the scene's lower left corner."""
    south = NORTH - 40
    shapes = [box(WEST + w, south + s, WEST + e, south + n) for w, s, e, n in boxes]
    return gpd.GeoDataFrame(geometry=shapes, crs=UTM)


def counts(found):
    return found.object_tp, found.object_fp, found.object_fn, found.ignored


def test_shifted_squares_have_the_figures_of_the_closed_form():
    found = score(roofs((10, 10, 20, 20)), roofs((12, 10, 22, 20)), GRID)
    assert (found.tp, found.fp, found.fn) == (8 * 10 * 4, 2 * 10 * 4, 2 * 10 * 4)
    assert found.iou == pytest.approx(8 / 12)
    assert found.precision == found.recall == found.f1 == 0.8
    assert counts(found) == (1, 0, 0, 0)
    assert found.objects[0].iou.tolist() == [pytest.approx(8 / 12)] * 2
    assert found.objects[0].result.tolist() == ["hit", "hit"]


def test_a_missed_and_a_false_building_are_told_apart_in_the_table():
    mapped, truth = roofs((1, 1, 5, 5), (30, 30, 35, 35)), roofs((50, 1, 58, 9), (1, 1, 5, 5.5))
    found = score(mapped, truth, GRID)
    assert counts(found) == (1, 1, 1, 0)
    assert found.object_f1 == found.object_precision == found.object_recall == 0.5
    table = found.objects[0]
    assert table.source.tolist() == ["map", "map", "truth", "truth"]
    assert table.row.tolist() == [0, 1, 0, 1]
    assert table.result.tolist() == ["hit", "false", "missed", "hit"]
    assert table.crs == UTM


def test_an_iou_of_exactly_one_half_is_a_match_but_only_for_one():
    whole = (10, 10, 20, 20)
    halves = (10, 10, 15, 20), (15, 10, 20, 20)
    found = score(roofs(whole), roofs(*halves), GRID)
    assert found.objects[0].iou.tolist() == [0.5, 0.5, 0.5]
    assert counts(found) == (1, 0, 1, 0)


def test_overlapping_labels_are_matched_so_that_most_find_a_partner():
    # the first building fits both labels, the second only the first of them
    mapped = roofs((10, 10, 20, 20), (10, 10, 20, 16))
    truth = roofs((10, 10, 20, 18), (10, 10, 20, 25))
    assert counts(score(mapped, truth, GRID)) == (2, 0, 0, 0)


def test_empty_maps_and_empty_truth_give_nan_where_there_is_nothing_to_tell():
    nothing, one = roofs(), roofs((1, 1, 5, 5))
    neither = score(nothing, nothing, GRID)
    assert all(isnan(f) for f in (neither.iou, neither.precision, neither.recall, neither.f1))
    assert isnan(neither.object_f1)
    missed = score(nothing, one, GRID)
    assert (missed.iou, missed.recall, missed.object_f1) == (0, 0, 0)
    assert isnan(missed.precision)
    false = score(one, nothing, GRID)
    assert (false.iou, false.precision, false.object_f1) == (0, 0, 0)
    assert isnan(false.recall)


def test_pixels_without_data_do_not_count():
    def left_half(top, bottom):
        valid = np.zeros((bottom - top, 120), bool)
        valid[:, :60] = True
        return valid

    mapped, truth = (
        roofs((10, 10, 20, 20), (40, 10, 50, 20)),
        roofs((10, 10, 20, 20), (29, 1, 49, 5)),
    )
    found = score(mapped, truth, GRID, valid_rows=left_half)
    assert (found.tp, found.fp, found.fn) == (400, 0, 16)
    assert counts(found) == (1, 0, 0, 2)


def test_slivers_at_the_border_are_ignored_with_what_was_mapped_on_them():
    truth = roofs((59, 10, 80, 20), (10, 39.9, 20, 40.1), (-10, 1, 10, 9), (100, 0, 110, 9))
    mapped = roofs((59, 10.5, 60, 20), (10, 39.9, 20, 40), (0, 1, 10, 9))
    found = score(mapped, truth, GRID)
    assert counts(found) == (1, 0, 0, 4)
    assert found.objects[0].row.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_small_false_building_within_the_scene_is_not_excused():
    assert counts(score(roofs((10, 10, 11, 11)), roofs(), GRID)) == (0, 1, 0, 0)


def test_other_crs_and_broken_outlines_make_no_difference():
    truth = roofs((10, 10, 20, 20), (30, 10, 40, 20))
    bow_tie = gpd.GeoDataFrame(
        geometry=[
            shapely.Polygon(
                [(WEST, NORTH), (WEST + 4, NORTH - 4), (WEST + 4, NORTH), (WEST, NORTH - 4)]
            ),
            None,
        ],
        crs=UTM,
    )
    mapped = gpd.GeoDataFrame(geometry=[*truth.geometry, *bow_tie.geometry], crs=UTM)
    found = score(mapped.to_crs("EPSG:4326"), truth.to_crs("EPSG:3857"), GRID)
    assert counts(found) == (2, 1, 0, 0)
    assert found.tp == 800
    assert found.objects[0].row.tolist() == [0, 1, 2, 0, 1]


def test_a_scene_without_georeference_is_scored_in_pixels():
    grid = Grid(None, Affine.identity(), 20, 20)
    shapes = gpd.GeoDataFrame(geometry=[box(2, 2, 6, 6)])
    found = score(shapes, shapes, grid)
    assert (found.iou, found.object_f1) == (1, 1)


def test_strips_do_not_change_the_counts(monkeypatch):
    rng = np.random.default_rng(0)
    at = rng.random((2, 30, 2)) * (55, 35)
    mapped, truth = (roofs(*np.c_[a, a + 1 + rng.random((30, 2)) * 6]) for a in at)
    whole = score(mapped, truth, GRID)
    monkeypatch.setattr(scores, "_STRIP_PX", 120 * 7)
    monkeypatch.setattr(scores, "_PAIRS", 5)
    assert score(mapped, truth, GRID).objects[0].equals(whole.objects[0])
    strips = score(mapped, truth, GRID)
    assert (strips.tp, strips.fp, strips.fn) == (whole.tp, whole.fp, whole.fn)


def test_scenes_pool_exactly():
    truth, mapped = (
        roofs((10, 10, 20, 20), (40, 10, 52, 20)),
        roofs((11, 10, 21, 20), (40, 12, 50, 22)),
    )
    left, right = GRID.part(0, 0, 80, 60), GRID.part(0, 60, 80, 60)
    both, whole = (
        score(mapped, truth, left) + score(mapped, truth, right),
        score(mapped, truth, GRID),
    )
    assert (both.tp, both.fp, both.fn) == (whole.tp, whole.fp, whole.fn)
    assert (both.iou, both.object_f1) == (whole.iou, whole.object_f1)
    assert len(both.objects) == 2


corner = st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(1, 10), st.integers(1, 10))
sets_of_boxes = st.lists(corner, max_size=6).map(
    lambda found: [(w, s, w + e, s + n) for w, s, e, n in found]
)


def most_pairs(candidates):
    """Largest one-to-one choice among pairs, by trying all."""
    for size in range(min(len(candidates), 6), 0, -1):
        for chosen in combinations(candidates, size):
            if all(len(set(side)) == size for side in zip(*chosen, strict=True)):
                return size
    return 0


@settings(deadline=None, max_examples=60)
@given(sets_of_boxes, sets_of_boxes)
def test_scores_agree_with_brute_force_over_pixels_and_pairs(ours, theirs):
    mapped, truth = roofs(*ours), roofs(*theirs)
    found = score(mapped, truth, GRID)
    a, b = (
        rasterize(frame.geometry, GRID.transform, GRID.shape_hw) > 0 for frame in (mapped, truth)
    )
    assert (found.tp, found.fp, found.fn) == ((a & b).sum(), (a & ~b).sum(), (~a & b).sum())
    pairs = [
        (i, j)
        for i, p in enumerate(mapped.geometry)
        for j, q in enumerate(truth.geometry)
        if p.intersection(q).area / p.union(q).area >= 0.5
    ]
    hits = most_pairs(pairs)
    assert counts(found) == (hits, len(ours) - hits, len(theirs) - hits, 0)
