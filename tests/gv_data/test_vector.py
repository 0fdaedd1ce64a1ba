import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import Geod
from shapely import LineString, MultiPolygon, Point, Polygon, box

from gv_data.errors import VectorError
from gv_data.labels.overlap import overlap
from gv_data.vectors.geodesy import area_m2, length_m
from gv_data.vectors.polygons import outline, polygonize, polygonize_labels, rasterize, repair
from gv_data.vectors.vector import read, write, writing

UTM = "EPSG:32737"
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "buildings"
SCHEMA = pa.schema({"id": pa.int64(), "confidence": pa.float64(), "roof": pa.string()})


def roofs(n=3, crs=UTM):
    corners = np.arange(n) * 10.0
    return gpd.GeoDataFrame(
        {"id": np.arange(n), "confidence": corners / 7, "roof": ["tin"] * n},
        geometry=[box(5e5 + x, 9e6, 5e5 + x + 4, 9e6 + 3) for x in corners],
        crs=crs,
    )


def nested_collection(depth):
    head = struct.pack("<BII", 1, 7, 1)
    return head * depth + shapely.to_wkb(Point(0, 0))


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb"])
def test_a_frame_comes_back_as_it_was_written(tmp_path, suffix):
    frame = roofs()
    write(frame, tmp_path / f"roofs{suffix}")
    found = read(tmp_path / f"roofs{suffix}").sort_values("id", ignore_index=True)
    assert_geodataframe_equal(found, frame, check_dtype=False, check_like=True, normalize=True)
    assert found.crs == frame.crs
    assert [p.name for p in tmp_path.iterdir()] == [f"roofs{suffix}"]


def test_geojson_holds_longitude_and_latitude_and_no_crs_member(tmp_path):
    write(roofs(), tmp_path / "roofs.geojson")
    document = json.loads((tmp_path / "roofs.geojson").read_text())
    assert "crs" not in document
    x, y = document["features"][0]["geometry"]["coordinates"][0][0]
    assert (round(x), round(y)) == (39, -9)
    back = read(tmp_path / "roofs.geojson").to_crs(UTM)
    assert shapely.equals_exact(back.geometry, roofs().geometry, 0.02, normalize=True).all()


@pytest.mark.parametrize("suffix", [".parquet", ".geojson", ".fgb"])
def test_the_same_frame_gives_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        write(roofs(), tmp_path / name / f"roofs{suffix}")
    assert (tmp_path / f"a/roofs{suffix}").read_bytes() == (
        tmp_path / f"b/roofs{suffix}"
    ).read_bytes()


def test_geopandas_duckdb_and_the_spec_agree_on_a_streamed_geoparquet(tmp_path):
    path = tmp_path / "roofs.parquet"
    frame = roofs(25_000)
    with writing(path, crs=UTM, schema=SCHEMA) as writer:
        for start in range(0, len(frame), 700):
            writer.append(frame.take(range(start, min(start + 700, 25_000))))
    assert_geodataframe_equal(gpd.read_parquet(path), frame, check_dtype=False)
    assert pq.ParquetFile(path).num_row_groups == 3
    geo = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert geo["columns"]["geometry"]["bbox"] == list(frame.total_bounds)
    window = (500_100, 0, 500_125, 1e8)
    assert len(gpd.read_parquet(path, bbox=window)) == 3
    with duckdb.connect() as connection:
        kind, wkb, west = connection.execute(
            f"SELECT typeof(geometry), ST_AsWKB(geometry), bbox.xmin FROM '{path}' WHERE id = 7"
        ).fetchall()[0]
    assert kind.startswith("GEOMETRY(")
    assert shapely.from_wkb(bytes(wkb)).equals(frame.geometry[7])
    assert west == 500_070


def test_a_streamed_geopackage_is_one_layer_named_as_the_file(tmp_path):
    path = tmp_path / "roofs.gpkg"
    frame = roofs(12_000)
    with writing(path, crs=UTM, schema=SCHEMA) as writer:
        for start in range(0, len(frame), 5_000):
            writer.append(frame.take(range(start, min(start + 5_000, 12_000))))
    assert pyogrio.list_layers(path).tolist() == [["roofs", "Polygon"]]
    assert_geodataframe_equal(read(path), frame, check_dtype=False, check_like=True)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
@pytest.mark.parametrize("crs", [UTM, None])
def test_no_polygons_give_a_valid_empty_file(tmp_path, suffix, crs):
    path = tmp_path / f"none{suffix}"
    with writing(path, crs=crs, schema=SCHEMA):
        pass
    found = read(path, crs_override=None if crs else UTM)
    assert len(found) == 0
    assert set(found.columns) == {"id", "confidence", "roof", "geometry"}
    assert found.crs == UTM


def test_single_and_multi_polygons_share_a_geopackage_layer(tmp_path):
    frame = roofs(2)
    frame.loc[1, "geometry"] = MultiPolygon([box(0, 0, 1, 1), box(2, 2, 3, 3)])
    write(frame, tmp_path / "mixed.gpkg")
    assert pyogrio.read_info(tmp_path / "mixed.gpkg")["geometry_type"] == "MultiPolygon"
    assert len(read(tmp_path / "mixed.gpkg")) == 2


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".geojson"])
def test_bounds_choose_features_by_their_boxes(tmp_path, suffix):
    frame = gpd.GeoDataFrame(
        {"id": range(6)}, geometry=[box(x, 0, x + 0.5, 1) for x in range(6)], crs="EPSG:4326"
    )
    write(frame, tmp_path / f"roofs{suffix}")
    assert sorted(read(tmp_path / f"roofs{suffix}", bounds=(1.4, 0, 3.1, 1)).id) == [1, 2, 3]
    swapped = read(tmp_path / f"roofs{suffix}", bounds=(0, 1.4, 1, 3.1), swap_xy=True)
    assert sorted(swapped.id) == [1, 2, 3]


def test_shapefiles_are_read(tmp_path):
    roofs().to_file(tmp_path / "roofs.shp")
    assert len(read(tmp_path / "roofs.shp")) == 3
    with pytest.raises(VectorError, match=r"\.fgb, not '\.shp'"):
        write(roofs(), tmp_path / "roofs2.shp")


def test_a_batch_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "roofs.parquet"
    write(roofs(1), path)

    def interrupted():
        with writing(path, crs=UTM, schema=SCHEMA) as writer:
            writer.append(roofs(20_000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(read(path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["roofs.parquet"]


def test_an_existing_file_is_kept_when_asked(tmp_path):
    write(roofs(1), tmp_path / "roofs.fgb")
    with pytest.raises(FileExistsError):
        write(roofs(2), tmp_path / "roofs.fgb", overwrite=False)


# Bad input


def test_a_batch_of_another_crs_or_without_a_column_is_refused(tmp_path):
    with writing(tmp_path / "a.gpkg", crs=UTM, schema=SCHEMA) as writer:
        with pytest.raises(VectorError, match="in EPSG:4326, the file in EPSG:32737"):
            writer.append(roofs(crs="EPSG:4326"))
        with pytest.raises(VectorError, match="lacks the columns roof"):
            writer.append(roofs().drop(columns="roof"))


def disguised(folder, name, content):
    write(roofs(), folder / "other.gpkg")
    path = folder / name
    path.write_bytes(content.replace(b"OTHER", bytes(folder / "other.gpkg")))
    return path


VRT = b"""<OGRVRTDataSource><OGRVRTLayer name="roofs"><SrcDataSource>OTHER</SrcDataSource>
<SrcLayer>other</SrcLayer></OGRVRTLayer></OGRVRTDataSource>"""
PIPELINE = b'{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read OTHER"}'


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp", ".parquet"])
@pytest.mark.parametrize("content", [VRT, PIPELINE, b"<html>log in</html>", b"\0" * 4096])
def test_content_that_is_not_what_the_suffix_says_is_refused(tmp_path, suffix, content):
    path = disguised(tmp_path, f"a{suffix}", content)
    with pytest.raises(VectorError, match="suffix says so"):
        read(path)


def test_a_json_of_another_driver_is_refused(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text(
        '{"geometryType": "esriGeometryPoint", "features": [{"geometry": {"x": 1, "y": 2}}]}'
    )
    with pytest.raises(VectorError, match="not a GeoJSON file but ESRIJSON"):
        read(path)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".geojson"])
def test_damaged_files_give_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(roofs(3_000), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(VectorError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_in_geoparquet_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    write(roofs(3_000), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VectorError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.geojson", None, "does not exist"),
        ("a.geojson", b"", "is empty"),
        ("a.kml", b"<kml/>", "vector files end in"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": [' + b"[" * 100_000, "cannot"),
    ],
)
def test_unusable_files_are_named_with_the_reason(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VectorError, match=said):
        read(tmp_path / name)


def test_parquet_without_geometry_is_named(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(VectorError, match="not GeoParquet"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("wkb", "geo"),
    [
        (b"\x01\x01\x00\x00\x00", None),
        (b"banana", None),
        (None, b"[]"),
        (None, b'{"primary_column": [], "columns": {}}'),
        (None, b"{"),
    ],
)
def test_malformed_geoparquet_gives_one_line(tmp_path, wkb, geo):
    path = tmp_path / "a.parquet"
    write(roofs(1), path)
    table = pq.read_table(path)
    if wkb:
        table = table.set_column(3, "geometry", pa.array([wkb], pa.binary()))
    pq.write_table(
        table.replace_schema_metadata({"geo": geo} if geo else table.schema.metadata), path
    )
    with pytest.raises(VectorError, match="cannot be read"):
        read(path)


def test_an_error_of_the_caller_is_not_taken_for_one_of_writing(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="scene"),
        writing(tmp_path / "a.parquet", crs=UTM, schema=SCHEMA),
    ):
        raise FileNotFoundError("scene")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("depth", [2, 100_000])
def test_nested_collections_do_not_kill_the_process(tmp_path, depth):
    path = tmp_path / "a.parquet"
    write(roofs(1), path)
    table = pq.read_table(path)
    geometry = pa.array([nested_collection(depth)], pa.binary())
    pq.write_table(table.set_column(3, "geometry", geometry), path)
    with pytest.raises(VectorError, match="nested"):
        read(path)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.sampled_from(
            [
                Point(1, 2),
                Point(1, 2, 3),
                LineString([(0, 0), (1, 1), (2, 0)]),
                box(0, 0, 1, 1),
                box(0, 0, 9, 9).difference(box(1, 1, 2, 2)),
                shapely.force_3d(box(0, 0, 1, 1), 4.0),
            ]
        ),
        max_size=5,
    ),
    st.sampled_from(["extended", "iso"]),
    st.sampled_from([0, 1]),
)
def test_flat_collections_are_told_from_nested_ones(parts, flavor, byte_order):
    from gv_data.vectors.geoparquet import _is_flat

    flat = shapely.GeometryCollection(parts)
    nested = shapely.GeometryCollection([*parts, MultiPolygon([box(0, 0, 1, 1)])])
    kwargs = {"flavor": flavor, "byte_order": byte_order}
    assert _is_flat(shapely.to_wkb(flat, **kwargs))
    assert not _is_flat(shapely.to_wkb(nested, **kwargs))
    assert all(_is_flat(shapely.to_wkb(part, **kwargs)) for part in parts)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb"])
def test_a_missing_crs_names_the_option(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(roofs(crs=None), path)
    with pytest.raises(VectorError, match="--labels-crs"):
        read(path)
    assert read(path, crs_override=UTM).crs == UTM
    with pytest.raises(VectorError, match="'EPSG:banana' is no CRS"):
        read(path, crs_override="EPSG:banana")


def test_coordinates_that_cannot_be_degrees_are_refused_unless_swapped(tmp_path):
    path = tmp_path / "a.geojson"
    geometry = shapely.geometry.mapping(box(-6.2, 139, -6.1, 139.1))
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(VectorError, match="--swap-xy"):
        read(path)
    assert read(path, swap_xy=True).total_bounds.tolist() == [139, -6.2, 139.1, -6.1]


def test_coordinates_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    bad = shapely.linestrings([[0, 0], [np.inf, 1]])
    write(gpd.GeoDataFrame(geometry=[bad], crs=UTM), path)
    with pytest.raises(VectorError, match="not finite"):
        read(path)


def test_styles_beside_the_layer_are_no_layer_and_two_layers_need_a_name(tmp_path):
    path = tmp_path / "a.gpkg"
    pyogrio.write_dataframe(roofs(2), path, layer="roofs")
    pyogrio.write_dataframe(pd.DataFrame({"qml": ["<x/>"]}), path, layer="layer_styles")
    assert len(read(path)) == 2
    pyogrio.write_dataframe(roofs(4), path, layer="sheds")
    with pytest.raises(VectorError, match="2 layers with geometry: roofs, sheds"):
        read(path)
    assert len(read(path, layer="sheds")) == 4
    with pytest.raises(VectorError, match="no layer 'barns'"):
        read(path, layer="barns")
    with pytest.raises(VectorError, match="has no geometry"):
        read(path, layer="layer_styles")


FILL = """
import resource, sys, signal
from pathlib import Path
import geopandas as gpd, numpy as np, shapely
from gv_data.errors import DataError
from gv_data.vectors.vector import write
at = np.random.default_rng(0).random((40_000, 2)) * 1e5
frame = gpd.GeoDataFrame(geometry=shapely.box(*at.T, *(at + 9).T), crs="EPSG:32737")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    write(frame, Path(sys.argv[1]))
except DataError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def filled(path, limit=""):
    return subprocess.run(
        [sys.executable, "-c", FILL, str(path), limit], capture_output=True, text=True, check=False
    )


@pytest.mark.robust
@pytest.mark.parametrize("suffix", [".parquet", ".fgb", ".geojson"])  # SQLite waits minutes
def test_a_file_that_cannot_grow_leaves_the_old_one_and_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(roofs(), path)
    before = path.read_bytes()
    child = filled(path, "1000000")
    assert child.returncode == 2, child.stderr
    assert str(path) in child.stdout
    assert len(child.stdout.splitlines()) == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.robust
@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".fgb", ".geojson"])
def test_a_full_disk_leaves_the_old_file_and_one_line(tmp_path, suffix):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        path = disk / f"a{suffix}"
        write(roofs(), path)
        before = path.read_bytes()
        child = filled(path)
        assert child.returncode == 2, child.stderr
        assert "free" in child.stdout
        assert path.read_bytes() == before
        assert [p.name for p in disk.iterdir()] == [path.name]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Polygons and masks


def test_a_bow_tie_becomes_its_two_triangles_and_empties_are_counted():
    bow_tie = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    fine = box(5, 5, 6, 6)
    collection = shapely.GeometryCollection([box(0, 0, 1, 1), LineString([(0, 0), (9, 9)])])
    given_ = [bow_tie, None, fine, Polygon(), Point(0, 0), collection]
    result = repair(given_)
    assert result.index.tolist() == [0, 2, 5]
    assert (result.repaired, result.dropped) == (2, 3)
    assert shapely.is_valid(result.geometries).all()
    assert shapely.area(result.geometries).tolist() == [2.0, 1.0, 1.0]
    assert result.geometries[1].equals_exact(fine)


def test_nothing_to_repair_is_fine():
    result = repair([])
    assert (len(result.geometries), result.repaired, result.dropped) == (0, 0, 0)


NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 9_000_000)


def test_a_pixel_burns_when_its_centre_is_inside():
    def burnt(west, east):
        return rasterize([box(west, -10, east, 10)], Affine.identity(), (1, 4))[0].tolist()

    assert burnt(0, 1) == [1, 0, 0, 0]
    assert burnt(0.49, 1.49) == [1, 0, 0, 0]
    assert burnt(0.51, 1.51) == [0, 1, 0, 0]


def test_rasterize_agrees_with_testing_each_centre():
    rng = np.random.default_rng(0)
    polygons = shapely.buffer(shapely.points(rng.random((20, 2)) * 20), rng.random(20) * 4)
    transform = Affine(0.5, 0, 0, 0, -0.5, 20)
    rows, columns = np.indices((40, 40))
    x, y = (columns + 0.5) * 0.5, 20 - (rows + 0.5) * 0.5
    expected = np.zeros((40, 40), np.int32)
    for value, polygon in enumerate(polygons, start=1):
        expected[shapely.contains_xy(polygon, x, y)] = value
    found = rasterize(polygons, transform, (40, 40), values=np.arange(1, 21), dtype=np.int32)
    assert (found == expected).all()


def test_rasterize_refuses_values_that_do_not_fit():
    with pytest.raises(VectorError, match="300 do not fit uint8"):
        rasterize([box(0, 0, 1, 1)], Affine.identity(), (2, 2), values=300)
    with pytest.raises(VectorError, match="2 polygons need as many values, got 1"):
        rasterize([box(0, 0, 1, 1)] * 2, Affine.identity(), (2, 2), values=[1])
    assert not rasterize([], Affine.identity(), (2, 2)).any()
    assert not rasterize([box(8, 8, 9, 9), None, Polygon()], Affine.identity(), (2, 2)).any()


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@settings(deadline=None)  # the machine may be busy
@given(masks)
def test_burning_the_outlines_of_a_mask_gives_the_mask(mask):
    polygons = polygonize(mask, NORTH_UP)
    assert shapely.is_valid(polygons).all()
    assert (rasterize(polygons, NORTH_UP, mask.shape) == mask).all()


@settings(deadline=None)  # the machine may be busy
@given(masks)
def test_outlines_are_the_union_of_the_pixel_squares(mask):
    rows, columns = np.nonzero(mask)
    squares = shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))
    polygons = polygonize(mask, Affine.identity())
    assert shapely.area(polygons).sum() == mask.sum()
    assert shapely.union_all(polygons).equals(squares)


def test_labels_become_polygons_of_their_own():
    labels = np.array([[1, 1, 2], [1, 0, 2], [1, 1, 1]], np.int32)
    polygons, values = polygonize_labels(labels, Affine.identity())
    areas = dict(zip(values.tolist(), (shape.area for shape in polygons), strict=True))
    assert areas == {1: 6.0, 2: 2.0}


def outline_by_definition(labels):
    rim = np.zeros(labels.shape, bool)
    for row, column in np.argwhere(labels > 0):
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            r, c = row + dr, column + dc
            if 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1]:
                rim[row, column] |= labels[r, c] != labels[row, column]
    return rim


@settings(deadline=None)  # the machine may be busy
@given(hnp.arrays(np.int32, (7, 9), elements=st.integers(0, 3)))
def test_the_outline_is_where_a_neighbour_has_another_label(labels):
    assert (outline(labels) == outline_by_definition(labels)).all()


def test_shared_walls_have_an_outline_on_both_sides_and_the_image_border_has_none():
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    assert outline(labels)[0].tolist() == [False, False, True, True, False, False]
    assert outline(labels, width_px=2)[0].tolist() == [False, True, True, True, True, False]


# Geodesy


def test_one_degree_cells_have_the_closed_form_area_of_the_ellipsoid():
    a, f = 6_378_137.0, 1 / 298.257223563
    e = np.sqrt(f * (2 - f))

    def zone(latitude):  # area from the equator over one radian of longitude
        s = np.sin(np.radians(latitude))
        return a**2 * (1 - e**2) / 2 * (s / (1 - (e * s) ** 2) + np.arctanh(e * s) / e)

    south, north = 51.0, 52.0
    expected = np.radians(1) * (zone(north) - zone(south))
    steps = np.linspace(7, 8, 2_000)  # many vertices: the sides follow the parallels
    ring = [*((x, south) for x in steps), *((x, north) for x in steps[::-1])]
    assert area_m2([Polygon(ring)], "OGC:CRS84")[0] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326"])
def test_areas_agree_with_an_equal_area_projection(crs):
    rng = np.random.default_rng(1)
    centres = np.c_[39 + rng.random(30), -6 - rng.random(30)]
    frame = gpd.GeoDataFrame(
        geometry=shapely.buffer(shapely.points(centres), 2e-4).tolist(), crs="EPSG:4326"
    ).to_crs(crs)
    expected = frame.to_crs("EPSG:6933").area
    np.testing.assert_allclose(area_m2(frame.geometry, crs), expected, rtol=1e-6)


def test_holes_are_subtracted_however_rings_run():
    outer, hole = box(0, 0, 10, 10), box(2, 2, 5, 5)
    ring = np.array(outer.exterior.coords)
    inner = np.array(hole.exterior.coords)
    areas = area_m2(
        [Polygon(a, [b]) for a in (ring, ring[::-1]) for b in (inner, inner[::-1])], UTM
    )
    whole = area_m2([outer], UTM) - area_m2([hole], UTM)
    np.testing.assert_allclose(areas, whole[0], rtol=1e-12)


def test_areas_of_parts_add_up_and_odd_geometries_have_none():
    a, b = box(5e5, 9e6, 5e5 + 10, 9e6 + 10), box(6e5, 9e6, 6e5 + 10, 9e6 + 10)
    areas = area_m2([MultiPolygon([a, b]), None, Point(5e5, 9e6), Polygon(), a, b], UTM)
    assert areas[1:4].tolist() == [0, 0, 0]
    assert areas[0] == pytest.approx(areas[4] + areas[5])
    assert area_m2([], UTM).shape == (0,)
    with pytest.raises(VectorError, match="need a CRS"):
        area_m2([a], None)


def test_lengths_agree_with_geod_for_lines_and_rings():
    line, square, hole = LineString([(0, 0), (1, 1), (2, 0)]), box(0, 0, 9, 9), box(2, 2, 3, 3)
    lines = shapely.MultiLineString([line, LineString([(5, 5), (6, 5)])])
    length = Geod(ellps="WGS84").geometry_length
    ring = length(square.exterior) + length(hole.exterior)
    expected = [length(line), length(square.exterior), 0, length(lines), ring]
    found = length_m([line, square, None, lines, square.difference(hole)], "EPSG:4326")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# Overlap of labels and images


def test_overlap_counts_labels_inside_the_images():
    facts = overlap(
        roofs(4).geometry, [box(499_990, 8_999_990, 500_015, 9_000_010)], images_crs=UTM
    )
    assert (facts.labels, facts.inside) == (4, 2)
    assert facts.share == 0.5


def test_swapped_labels_are_recognised_and_said():
    labels = gpd.GeoSeries(shapely.box(-6.17, 31.20, -6.12, 31.24), crs="EPSG:4326")
    facts = overlap(labels, [box(31.1, -6.2, 31.3, -6.1)], images_crs="EPSG:4326")
    assert (facts.inside, facts.inside_swapped) == (0, 1)
    message = facts.message("labels.gpkg", "ortho.tif")
    assert message.splitlines()[0] == "labels.gpkg and ortho.tif do not overlap."
    assert "swapped, 1 of 1 polygons would lie inside" in message
    assert "--swap-xy" in message
    assert "-6.1700 .. -6.1200 E, 31.2000 .. 31.2400 N   (EPSG:4326)" in message


def test_a_wrong_crs_is_recognised_and_the_fitting_one_named():
    labels = roofs(4).set_crs("EPSG:32637", allow_override=True).geometry
    facts = overlap(labels, [box(499_990, 8_999_990, 500_015, 9_000_010)], images_crs=UTM)
    assert facts.inside == 0
    assert facts.fitting_crs == UTM
    assert "--labels-crs EPSG:32737" in facts.message("a.gpkg", "b.tif")


def test_labels_elsewhere_get_no_hint():
    facts = overlap(roofs(4).geometry, [box(0, 0, 1, 1)], images_crs="EPSG:4326")
    assert (facts.inside, facts.inside_swapped, facts.fitting_crs) == (0, 0, None)
    assert "try" not in facts.message("a.gpkg", "b.tif")


# Real labels


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("place", "count", "mean_m2"),
    [("zanzibar", 201, (50, 250)), ("banepa", 80, (40, 250)), ("banepa_tiles", 1466, (40, 250))],
)
def test_real_labels_are_read_repaired_and_measured(tmp_path, place, count, mean_m2):
    path = REAL / place / "labels.geojson"
    if not path.exists():
        pytest.skip(f"no real labels at {path}")
    frame = read(path)
    assert len(frame) == count
    polygons = repair(frame.geometry.to_numpy())
    assert len(polygons.geometries) == count
    areas = area_m2(polygons.geometries, frame.crs)
    np.testing.assert_allclose(
        areas, gpd.GeoSeries(polygons.geometries, crs=frame.crs).to_crs("EPSG:6933").area, rtol=1e-5
    )
    assert mean_m2[0] < areas.mean() < mean_m2[1]
    write(frame, tmp_path / "labels.parquet")
    assert len(read(tmp_path / "labels.parquet")) == count


@pytest.mark.parametrize(
    ("west", "south", "east", "north"),
    [(-179, -60, 179, 60), (-180, -90, 180, 90), (-180, 60, 180, 90), (0, -90, 359, 80),
     (-170, -60, 20, -10), (-180, -85, 180, 85)],
)  # fmt: skip
def test_areas_of_wide_boxes_are_those_of_their_zones(west, south, east, north):
    a, f = 6_378_137.0, 1 / 298.257223563
    e = np.sqrt(f * (2 - f))

    def zone(degrees):  # closed form: area from the equator, a radian of longitude
        s = np.sin(np.radians(degrees))
        return a**2 * (1 - e**2) / 2 * (s / (1 - (e * s) ** 2) + np.arctanh(e * s) / e)

    expected = np.radians(east - west) * (zone(north) - zone(south))
    wide, small = box(west, south, east, north), box(20, 61, 21, 62)
    found = area_m2([small, MultiPolygon([wide]), None, wide], "EPSG:4326")
    np.testing.assert_allclose(found[[1, 3]], expected, rtol=2e-6)
    assert found[0] == area_m2([small], "EPSG:4326")[0]
    holed = wide.difference(box(0, 61, 1, 62))
    hole = (wide.area > holed.area) * area_m2([box(0, 61, 1, 62)], "EPSG:4326")[0]
    assert area_m2([holed], "EPSG:4326")[0] == pytest.approx(expected - hole, rel=2e-6)
