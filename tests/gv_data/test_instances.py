import subprocess
import sys

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from gv_data.errors import RasterError
from gv_data.vectors.instances import NODATA, Splitting, instances
from gv_data.vectors.polygons import rasterize


def strips(interior, edge, heights):
    at = 0
    while at < len(interior):
        for height in heights:
            if at < len(interior):
                yield interior[at : at + height], edge[at : at + height]
            at += height


def found(interior, edge, heights, splitting):
    """All buildings as comparable values."""
    batches = list(instances(strips(interior, edge, heights), splitting))
    rows = [
        (polygon.wkt, confidence, int(pixels))
        for batch in batches
        for polygon, confidence, pixels in zip(
            batch.polygons, batch.confidence.tolist(), batch.pixels, strict=True
        )
    ]
    return sorted(rows)


def labelled_by_definition(interior, edge, splitting):
    """The docstring's rules on the whole array, one pixel at a time."""
    inside = (interior >= splitting.threshold * 200) & (interior != NODATA)
    labels, count = ndimage.label(inside & (edge < splitting.edge_threshold * 200))
    for label in range(1, count + 1):
        if (labels == label).sum() < splitting.min_core_px:
            labels[labels == label] = 0
    height, width = labels.shape
    for _ in range(splitting.grow_px):
        before = labels.copy()
        for r, c in np.argwhere(inside & (before == 0)):
            for rr, cc in ((r - 1, c), (r, c - 1), (r, c + 1), (r + 1, c)):
                if 0 <= rr < height and 0 <= cc < width and before[rr, cc] and not labels[r, c]:
                    labels[r, c] = before[rr, cc]
    rest, _ = ndimage.label(inside & (labels == 0))
    return np.where(rest > 0, rest + labels.max(), labels)


def by_definition(interior, edge, splitting):
    labels = labelled_by_definition(interior, edge, splitting)
    rows = []
    for label in np.unique(labels[labels > 0]):
        r, c = np.nonzero(labels == label)
        area = shapely.union_all(shapely.box(c, r, c + 1, r + 1))
        rows.append((area, interior[r, c].mean() / 200, len(r)))
    return rows


levels = st.sampled_from([0, 99, 100, 160, 200, NODATA])
rasters = st.tuples(st.integers(1, 24), st.integers(1, 9)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=levels),
        hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 200])),
    )
)
splittings = st.builds(
    Splitting,
    grow_px=st.integers(0, 3),
    min_core_px=st.integers(0, 6),
    min_px=st.sampled_from([1, 1, 4]),
    simplify_px=st.sampled_from([0.0, 1.5]),
)
HORSESHOE = np.full((12, 7), 200, np.uint8)
HORSESHOE[:9, 2:5] = 0


@settings(deadline=None)  # the machine may be busy
@given(rasters, st.lists(st.integers(1, 9), min_size=1, max_size=4), splittings)
@example((HORSESHOE, np.zeros_like(HORSESHOE)), [2], Splitting())
def test_any_strips_give_the_same_buildings_as_the_whole(raster, heights, splitting):
    interior, edge = raster
    whole = found(interior, edge, [len(interior)], splitting)
    assert found(interior, edge, heights, splitting) == whole


@settings(deadline=None, max_examples=60)
@given(rasters, st.integers(1, 9), splittings)
def test_buildings_follow_the_definition_pixel_by_pixel(raster, height, splitting):
    interior, edge = raster
    expected = [b for b in by_definition(interior, edge, splitting) if b[2] >= splitting.min_px]
    batches = list(instances(strips(interior, edge, [height]), splitting))
    polygons = [polygon for batch in batches for polygon in batch.polygons]
    assert len(polygons) == len(expected)
    assert all(p.is_valid and not p.is_empty and p.geom_type == "Polygon" for p in polygons)
    if splitting.simplify_px == 0:
        confidence = [c for batch in batches for c in batch.confidence]
        pixels = [int(n) for batch in batches for n in batch.pixels]
        for area, mean, count in expected:
            i = next(i for i, polygon in enumerate(polygons) if polygon.equals(area))
            assert confidence[i] == pytest.approx(mean)
            assert pixels[i] == count


def test_touching_buildings_part_along_their_shared_wall_and_cover_all_pixels():
    interior = np.full((20, 31), 180, np.uint8)
    edge = np.zeros_like(interior)
    edge[:, 14:17] = 200
    (batch,) = instances([(interior, edge)], Splitting(grow_px=3))
    assert sorted(batch.pixels.tolist()) == [20 * 15, 20 * 16]
    assert batch.confidence.tolist() == [0.9, 0.9]
    labels = rasterize(batch.polygons, Affine.identity(), (20, 31))
    assert labels.all()


def test_a_building_is_handed_out_before_the_last_strip():
    interior = np.zeros((400, 50), np.uint8)
    interior[10:30, 10:30] = 200
    edge = np.zeros_like(interior)
    given_out = instances(strips(interior, edge, [40]))
    first = next(given_out)
    assert first.polygons[0].bounds == (10, 10, 30, 30)
    assert list(given_out) == []


def test_no_strips_and_no_buildings_give_nothing():
    assert list(instances([])) == []
    empty = np.full((5, 5), NODATA, np.uint8)
    assert list(instances([(empty, empty)])) == []


def test_simplified_outlines_are_valid_and_have_fewer_corners():
    rows, columns = np.indices((60, 60))
    disc = np.where((rows - 30) ** 2 + (columns - 30) ** 2 < 400, 200, 0).astype(np.uint8)
    edge = np.zeros_like(disc)
    ((raw,), (simple,)) = (
        [b.polygons[0] for b in instances([(disc, edge)], Splitting(simplify_px=px))]
        for px in (0.0, 1.0)
    )
    assert simple.is_valid
    assert len(simple.exterior.coords) < len(raw.exterior.coords) / 2
    assert simple.intersection(raw).area / simple.union(raw).area > 0.95


def test_strips_that_do_not_fit_are_refused():
    ten, nine = np.zeros((4, 10), np.uint8), np.zeros((4, 9), np.uint8)
    with pytest.raises(RasterError, match="10 columns"):
        list(instances([(ten, ten), (nine, nine)]))
    with pytest.raises(RasterError, match="edge of"):
        list(instances([(ten, nine)]))


PEAK = """
import sys
import numpy as np
from pathlib import Path
from gv_data.vectors.instances import Splitting, instances

def rows(height, width, strip):
    for top in range(0, height, strip):
        rng = np.random.default_rng(top)
        interior = np.zeros((strip, width), np.uint8)
        for y, x in rng.integers(0, (strip - 30, width - 40), (strip * width // 6000, 2)):
            interior[y : y + 25, x : x + 35] = 190
        yield interior, np.zeros_like(interior)

count = sum(len(b) for b in instances(rows(int(sys.argv[1]), 2048, 256)))
status = Path("/proc/self/status").read_text()
print(count, *[l.split()[1] for l in status.splitlines() if l.startswith("VmHWM")])
"""


@pytest.mark.robust
def test_memory_does_not_grow_with_the_raster():
    def run(height):
        out = subprocess.run(
            [sys.executable, "-c", PEAK, str(height)], capture_output=True, text=True, check=True
        )
        return [int(word) for word in out.stdout.split()]

    (few, small), (many, large) = run(1024), run(6144)
    assert many > 5 * few
    assert large < 1.1 * small


def test_simplified_outlines_keep_within_the_tolerance() -> None:
    count = 0
    for seed in range(3):
        noise = np.random.default_rng(seed).random((300, 300))
        interior = np.where(ndimage.gaussian_filter(noise, 0.8) > 0.54, 180, 0).astype(np.uint8)
        raster = [(interior, np.zeros_like(interior))]
        exact, simple = (
            np.concatenate([found.polygons for found in instances(raster, splitting)])
            for splitting in (Splitting(min_px=12), Splitting(min_px=12, simplify_px=1.0))
        )
        away = shapely.hausdorff_distance(shapely.boundary(exact), shapely.boundary(simple))
        assert (away <= 1 + 1e-9).mean() > 0.99
        assert away.max() < 1.5  # where the topology is kept with care, GEOS moves ends a little
        assert shapely.is_valid(simple).all()
        corners = [shapely.get_num_coordinates(outlines).sum() for outlines in (exact, simple)]
        assert corners[1] < 0.7 * corners[0]
        count += len(exact)
    assert count > 500
