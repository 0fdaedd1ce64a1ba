"""When images were taken, from their names."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchgeo.datasets.utils import disambiguate_timestamp

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.dates import DatePattern
from gv_data.intake.indexing import index
from gv_data.stac.stac_import import import_stac

IMAGE = np.random.default_rng(2).integers(1, 255, (3, 40, 50), dtype=np.uint8)
PATTERNS = ["%Y", "%Y%m", "%Y-%m", "%Y%m%d", "%y%m%d", "%d%b%Y", "%Y%j", "%Y%m%dT%H", "%Y%m%dT%H%M",
            "%Y%m%dT%H%M%S", "%Y%m%d_%H%M%S_%f"]  # fmt: skip


def spans(catalog: Catalog) -> dict[str, tuple[dt.datetime, dt.datetime]]:
    table = catalog.sql('SELECT id, start, "end" FROM images ORDER BY id').to_pylist()
    return {row["id"]: (row["start"], row["end"]) for row in table}


@pytest.mark.parametrize("pattern", PATTERNS)
@given(moment=st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2060, 1, 1)))
def test_what_was_written_into_a_name_is_found_as_torchgeo_understands_it(pattern, moment):
    written = moment.strftime(pattern)
    found = DatePattern(pattern).of(Path(f"/data/flights/tile_{written}.tif"))
    assert found is not None
    expected = disambiguate_timestamp(written, pattern)
    assert [one.replace(tzinfo=None) for one in found] == [one.to_pydatetime() for one in expected]
    assert found[0].tzinfo == found[1].tzinfo == dt.UTC


@pytest.mark.parametrize(
    ("path", "pattern", "day"),
    [
        ("S2A_MSIL1C_20230105T101010_20240101T000000.tif", "%Y%m%d", (2023, 1, 5)),
        ("20230105/20240203/a.tif", "%Y%m%d", (2024, 2, 3)),
        ("20230105/20240203.tif", "%Y%m%d", (2024, 2, 3)),
        ("38669022-20230105.tif", "%Y%m%d", (2023, 1, 5)),  # the first number has no such month
        ("120230105.tif", "%Y%m%d", None),
        ("202301051.tif", "%Y%m%d", None),
        ("20230230.tif", "%Y%m%d", None),
        ("10010105.tif", "%Y%m%d", None),
        ("farm/2023/01/05/a.tif", "%Y/%m/%d", (2023, 1, 5)),
        ("LC08_2023005.tif", "%Y%j", (2023, 1, 5)),
        ("flight 5JAN2023.tif", "%d%b%Y", None),
        ("flight 05JAN2023.tif", "%d%b%Y", (2023, 1, 5)),
        ("a.tif", "%Y%m%d", None),
    ],
)
def test_the_name_of_the_file_comes_first_and_numbers_that_are_no_dates_are_passed_by(
    path, pattern, day
):
    found = DatePattern(pattern).of(Path("/data") / path)
    assert (found and found[0]) == (day and dt.datetime(*day, tzinfo=dt.UTC))


@pytest.mark.parametrize(
    "pattern", ["", "date", "%m%d", "%Y%d", "%H%M", "%Y%H", "%Y%Q", "%Y%m%d%", "%Y%Y", "%Y%m%m"]
)
def test_what_is_no_pattern_is_refused_before_anything_is_read(pattern, tmp_path):
    with pytest.raises(CatalogError, match="is no pattern of dates"):
        index([tmp_path / "nowhere"], tmp_path / "c", dates=pattern)


def test_dates_become_columns_and_images_without_one_are_recorded(tif, tmp_path):
    tif("images/20230105/a.tif", IMAGE)
    tif("images/b_20230207.tif", IMAGE)
    tif("images/undated.tif", IMAGE)
    found = index([tmp_path / "images"], tmp_path / "c", dates="%Y%m%d")
    last = dt.timedelta(days=1, microseconds=-1)
    first = [dt.datetime(2023, 1, 5, tzinfo=dt.UTC), dt.datetime(2023, 2, 7, tzinfo=dt.UTC)]
    assert spans(found.catalog) == {
        "20230105/a": (first[0], first[0] + last),
        "b_20230207": (first[1], first[1] + last),
    }
    ((path, reason),) = found.refused
    assert path.name == "undated.tif"
    assert "has no date like %Y%m%d" in reason
    assert found.catalog.sql("SELECT id FROM errors")["id"].to_pylist() == ["undated"]
    schema = pq.read_schema(tmp_path / "c" / "images.parquet")
    assert schema.field("start").type == schema.field("end").type == pa.timestamp("us", "UTC")
    times: Any = found.catalog.dataset(labels=False).index.index
    assert times.left.tolist() == [one.replace(tzinfo=None) for one in first]


def test_dates_can_be_appended_to_a_catalog_without_and_the_other_way_round(tif, tmp_path):
    index([tif("a.tif", IMAGE)], tmp_path / "c")
    dated = tif("b20230105.tif", IMAGE)
    found = index([dated], tmp_path / "c", dates="%Y%m%d", append=True)
    assert spans(found.catalog)["a"] == (None, None)
    assert spans(found.catalog)["b20230105"][0] == dt.datetime(2023, 1, 5, tzinfo=dt.UTC)
    more = index([tif("d.tif", IMAGE)], tmp_path / "c", append=True)
    assert spans(more.catalog)["d"] == (None, None)
    assert len(index([dated], tmp_path / "c", dates="%Y%m%d", update=True).new) == 0


def test_a_column_start_of_another_kind_is_refused_and_kept(tif, tmp_path):
    import geopandas as gpd

    out = tmp_path / "c"
    index([tif("a.tif", IMAGE)], out)
    frame = gpd.read_parquet(out / "images.parquet").assign(start=["spring"])
    frame.to_parquet(out / "images.parquet", write_covering_bbox=True, schema_version="1.1.0")
    with pytest.raises(CatalogError, match="are of other kinds"):
        index([tif("b20230105.tif", IMAGE)], out, dates="%Y%m%d", append=True)
    rows = Catalog.open(out).sql("SELECT id, start FROM images").to_pylist()
    assert rows == [{"id": "a", "start": "spring"}]


def test_dates_go_to_stac_and_back(tif, tmp_path):
    tif("images/20230105T101112.tif", IMAGE)
    there = index([tmp_path / "images"], tmp_path / "c", dates="%Y%m%dT%H%M%S").catalog
    table = tmp_path / "items.parquet"
    there.to_stac(table)
    back = import_stac([table], tmp_path / "d", root=tmp_path)
    assert spans(back.catalog) == spans(there)


def test_the_command_takes_a_pattern(tif, tmp_path, command):
    tif("images/20230105.tif", IMAGE)
    code, _, _ = command("index", tmp_path / "images", "--dates", "%Y%m%d", "--out", tmp_path / "c")
    assert code == 0
    assert spans(Catalog.open(tmp_path / "c"))["20230105"][0].year == 2023
    code, _, told = command("index", tmp_path / "images", "--dates", "%Q", "--out", tmp_path / "d")
    assert code == 2
    assert "'%Q' is no pattern of dates" in told


@pytest.mark.parametrize(
    ("name", "day"), [("a2023366.tif", None), ("a2024366.tif", (2024, 12, 31)),
                      ("2023366_2023365.tif", (2023, 12, 31)), ("a2023000.tif", None)]
)  # fmt: skip
def test_day_366_is_one_of_leap_years_only(name, day):
    found = DatePattern("%Y%j").of(Path(name))
    assert (found and found[0]) == (day and dt.datetime(*day, tzinfo=dt.UTC))


def test_dates_and_classes_are_in_the_names_of_links_not_of_their_targets(tif, tmp_path):
    target = tif("cache/ab/20010101.tif", IMAGE)
    link = tmp_path / "images" / "roof" / "t_20230105.tif"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    found = index([tmp_path / "images"], tmp_path / "c", dates="%Y%m%d", class_folders=True)
    assert spans(found.catalog)["roof/t_20230105"][0] == dt.datetime(2023, 1, 5, tzinfo=dt.UTC)
    assert [image.label for image in found.catalog.images] == ["roof"]
    assert found.catalog.images[0].path == target
