"""The same work in threads and on a Ray cluster, of which a node dies."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gv_data import engine
from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.measure.catalog_statistics import measure_catalog

RNG = np.random.default_rng(11)
SCENES = {f"t{n}": RNG.integers(0, 256, (2, 60, 50), dtype=np.uint8) for n in range(12)}


def test_threads_do_each_item_once_and_a_bounded_number_at_a_time():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = engine.mapped(lambda n: n * n, items(), workers=2)
    first = next(results)
    assert len(taken) <= 10
    assert dict([first, *results]) == {n: n * n for n in range(100)}


def test_what_fails_in_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(engine.mapped(lambda n: 1 // n, [1, 0, 2], workers=2))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.robust
@pytest.mark.filterwarnings("ignore")  # Ray's own threads, sockets and processes
def test_a_node_that_dies_changes_no_figure(cluster, tif, tmp_path):
    files = [tif(f"images/{name}.tif", values) for name, values in SCENES.items()]
    for name, values in SCENES.items():
        tif(f"before/{name}.tif", values // 2)
    pairs = {"image_before": tmp_path / "before"}
    catalog = index(files, tmp_path / "c", pairs=pairs, measured=False).catalog
    second = next(node for node in cluster.list_all_nodes() if not node.head)
    seen = 0

    def track(ids, total):
        nonlocal seen
        for id in ids:
            seen += 1
            if seen == 3:
                cluster.remove_node(second, allow_graceful=False)
            yield id

    done = measure_catalog(catalog, engine="ray", workers=2, track=track)
    assert (done.images.done, done.assets["image_before"].done, done.failed) == (12, 12, {})
    pixels = np.concatenate([v.reshape(2, -1) for v in SCENES.values()], axis=1)
    found = Catalog.open(catalog.path).statistics
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(found.std, pixels.std(axis=1), rtol=1e-13)
    before = Catalog.open(catalog.path).statistics_of("image_before")
    np.testing.assert_allclose(before.mean, (pixels // 2).mean(axis=1), rtol=1e-13)


def test_without_ray_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(Exception, match=r"gv-data\[ray\]"):
        list(engine.mapped(abs, [1], engine="ray"))
