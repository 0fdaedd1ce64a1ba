"""SQL that pools statistics agrees with numpy on all pixels."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index
from gv_data.store import macros

RNG = np.random.default_rng(7)
SCENES = {
    f"{place}{n}": RNG.gamma(2 + n, 20 + 30 * n, (2, 60 + 10 * n, 50)).clip(0, 60_000).astype(kind)
    for place, kind in (("north", np.uint16), ("south", np.float32))
    for n in range(3)
}


@pytest.fixture
def catalog(tif, tmp_path) -> Catalog:
    """Two places with three images each, of another type."""
    for place in ("north", "south"):
        files = [tif(f"{name}.tif", v) for name, v in SCENES.items() if name.startswith(place)]
        index(files, tmp_path / "c", place=place, append=place == "south")
    return Catalog.open(tmp_path / "c")


def pixels(place: str, band: int) -> np.ndarray:
    scenes = [values[band] for name, values in SCENES.items() if name.startswith(place)]
    return np.concatenate([values.ravel() for values in scenes]).astype(np.float64)


def test_pooled_figures_are_those_of_all_pixels(catalog):
    table = catalog.sql(
        "SELECT place, position, pooled_valid(statistics) AS n, pooled_mean(statistics) AS mean, "
        "pooled_std(statistics) AS std, pooled_skewness(statistics) AS skewness, "
        "pooled_kurtosis(statistics) AS kurtosis, pooled_minimum(statistics) AS low, "
        "pooled_maximum(statistics) AS high, pooled_entropy(statistics) AS entropy "
        "FROM images JOIN statistics USING (id) GROUP BY ALL"
    )
    assert len(table) == 4
    for row in table.to_pylist():
        values = pixels(row["place"], row["position"])
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(values.std(), rel=1e-12)
        assert row["skewness"] == pytest.approx(scipy.stats.skew(values), rel=1e-9)
        assert row["kurtosis"] == pytest.approx(scipy.stats.kurtosis(values), rel=1e-9)
        assert (row["low"], row["high"]) == (values.min(), values.max())
        if row["place"] == "north":  # whole numbers, counted one by one
            _, counts = np.unique(values, return_counts=True)
            assert row["entropy"] == pytest.approx(scipy.stats.entropy(counts, base=2), rel=1e-12)


@pytest.mark.parametrize("percent", [0, 2, 50, 98, 100])
def test_pooled_percentiles_are_those_of_all_pixels(percent, catalog):
    table = catalog.sql(
        f"SELECT place, position, pooled_percentile(s, {percent}) AS found "
        "FROM images JOIN statistics s USING (id) GROUP BY ALL"
    )
    for row in table.to_pylist():
        values = pixels(row["place"], row["position"])
        expected = np.percentile(values, percent, method="inverted_cdf")
        exact = row["place"] == "north"
        assert row["found"] == pytest.approx(expected, rel=0 if exact else 1 / 256)


def test_views_and_sql_agree(catalog):
    for place in ("north", "south"):
        view = catalog.where(f"place = '{place}'")
        values = np.stack([pixels(place, band) for band in range(2)])
        known = view.statistics
        np.testing.assert_allclose(known.mean, values.mean(axis=1), rtol=1e-13)
        np.testing.assert_allclose(known.correlation, np.corrcoef(values), rtol=1e-10)
        found = view.sql(
            "SELECT pooled_percentile(statistics, 90) AS p FROM statistics "
            "SEMI JOIN images USING (id) GROUP BY position ORDER BY position"
        )
        np.testing.assert_array_equal(known.percentile(90), found["p"])


def test_images_without_a_valid_pixel_weigh_nothing(catalog):
    empty = (
        "SELECT 'image' AS asset, 0::BIGINT AS valid, 9::BIGINT AS invalid, 0.0 AS mean, "
        "0.0 AS m2, 0.0 AS m3, "
    )
    table = catalog.sql(
        "WITH s AS (SELECT asset, valid, invalid, mean, m2, m3, m4 FROM statistics "
        "WHERE position = 0 "
        f"UNION ALL {empty} 0.0 AS m4) SELECT pooled_mean(s) AS mean, pooled_std(s) AS std FROM s"
    )
    values = np.concatenate([pixels(place, 0) for place in ("north", "south")])
    assert table["mean"][0].as_py() == pytest.approx(values.mean(), rel=1e-12)
    assert table["std"][0].as_py() == pytest.approx(values.std(), rel=1e-12)


def test_means_far_from_zero_lose_no_digits():
    connection = duckdb.connect()
    for call in ("pooled_std(s)",):
        connection.execute(f"CREATE MACRO {call} AS {macros.MACROS[call]}")
    means = 1e7 + RNG.normal(size=5000)
    valid = RNG.integers(1, 1000, 5000)
    statistics = pa.table(
        {n: valid if n == "valid" else means * 0 for n in ("valid", "m2", "m3", "m4")}
    )
    statistics = statistics.append_column("mean", pa.array(means))
    statistics = statistics.append_column("asset", pa.array(["image"] * 5000))
    connection.register("statistics", statistics)
    ((found,),) = connection.sql("SELECT pooled_std(statistics) FROM statistics").fetchall()
    exact = means.astype(np.longdouble)
    middle = (exact * valid).sum() / valid.sum()
    expected = np.sqrt(((exact - middle) ** 2 * valid).sum() / valid.sum())
    assert found == pytest.approx(float(expected), rel=1e-12)


def test_a_mistake_in_sql_is_told_with_the_columns_there_are(catalog):
    with pytest.raises(CatalogError, match=r"nothing(?s:.*)columns of images: id, .*gsd_m"):
        catalog.sql("SELECT nothing FROM images")
    with pytest.raises(CatalogError, match=r"(?i)syntax error"):
        catalog.sql("SELEC * FROM images")
    with pytest.raises(CatalogError, match="from 0 to 100"):
        catalog.sql("SELECT pooled_percentile(statistics, 101) FROM statistics")


def test_other_files_are_read_only_when_that_is_allowed(catalog, tmp_path):
    (tmp_path / "own.csv").write_text("id,mark\nnorth/north0,5\n")
    query = f"SELECT mark FROM images JOIN '{tmp_path / 'own.csv'}' USING (id)"
    with pytest.raises(CatalogError, match="disabled"):
        catalog.sql(query)
    assert catalog.sql(query, external=True)["mark"].to_pylist() == [5]


@pytest.mark.parametrize(
    "words",
    [
        "EXPLAIN",
        "EXPLAIN ANALYZE",
        "EXPLAIN (ANALYZE, FORMAT JSON)",
        "EXPLAIN /* SELECT 1 -- */ ANALYZE",
        "explain -- SELECT 'é'\n analyze",
    ],
)
def test_only_what_answers_is_explained(words, catalog, tmp_path):
    file = tmp_path / "written.csv"
    for harmful in (f"COPY (SELECT 1) TO '{file}'", "DELETE FROM images", "CREATE TABLE t (a INT)"):
        for external in (False, True):
            with pytest.raises(CatalogError, match="has no answer"):
                catalog.sql(f"{words} {harmful}", external=external)
    assert not file.exists()
    for query in ("SELECT id FROM images", "(FROM images)", "WITH a AS (SELECT 1) FROM a"):
        assert len(catalog.sql(f"{words} {query}", external=True))
