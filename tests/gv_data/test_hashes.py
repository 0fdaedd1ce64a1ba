"""Perceptual hashes: their closed form, what leaves them as they are, and the table of them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Picture
from scipy import ndimage

from gv_data import index
from gv_data.catalog import Catalog
from gv_data.checks.hashes import CELLS, HASHES, TURNS, hash_of, turned
from gv_data.measure.upkeep import bring_up_to_date

RNG = np.random.default_rng(11)
EVERYWHERE = np.ones((CELLS, CELLS), bool)


def texture(size: int = 256) -> np.ndarray:
    """A field as smooth as imagery is: neighbours are alike, nothing repeats."""
    coarse = ndimage.zoom(
        RNG.normal(0, 30, (20, 20)), size / 20, order=1, mode="nearest", grid_mode=True
    )
    return np.clip(128 + np.asarray(coarse) + RNG.normal(0, 5, (size, size)), 1, 255).round()


def averaged(image: np.ndarray) -> np.ndarray:
    side = len(image) // CELLS
    return image.reshape(CELLS, side, CELLS, side).mean(axis=(1, 3))


def bits_between(a: int | None, b: int | None) -> int:
    assert a is not None
    assert b is not None
    return (a ^ b).bit_count()


def test_bits_are_the_signs_of_the_cosine_transform():
    grey = RNG.normal(size=(CELLS, CELLS))
    k, x = np.ogrid[1:9, :CELLS]
    waves = np.cos(np.pi * k * (2 * x + 1) / (2 * CELLS))
    signs = (waves @ grey @ waves.T > 0).ravel()
    expected = int("".join("01"[sign] for sign in signs.tolist()), 2)
    assert hash_of(grey, EVERYWHERE) == expected


def test_brightness_contrast_and_size_change_nothing():
    image = texture()
    known = hash_of(averaged(image), EVERYWHERE)
    assert hash_of(averaged(0.5 * image + 40), EVERYWHERE) == known
    assert hash_of(averaged(1e-4 * image), EVERYWHERE) == known
    larger = np.repeat(np.repeat(image, 2, 0), 2, 1)
    assert bits_between(hash_of(averaged(larger), EVERYWHERE), known) == 0


def test_compression_changes_a_few_bits_and_other_images_half_of_them():
    images = [texture() for _ in range(40)]
    hashes = [hash_of(averaged(image), EVERYWHERE) for image in images]
    for image, known in zip(images, hashes, strict=True):
        file = io.BytesIO()
        Picture.fromarray(image.astype(np.uint8)).save(file, "JPEG", quality=50)
        again = np.asarray(Picture.open(file), float)
        assert bits_between(hash_of(averaged(again), EVERYWHERE), known) <= 4
    apart = [bits_between(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    # 64 coins: mean 32, standard deviation 4
    assert np.mean(apart) == pytest.approx(32, abs=0.5)
    assert np.std(apart) == pytest.approx(4, abs=0.4)


@pytest.mark.parametrize("turn", TURNS)
def test_the_hash_of_a_turned_image_follows_from_the_bits(turn):
    swap, down, across = turn
    grey = RNG.normal(size=(CELLS, CELLS))
    laid = grey.T if swap else grey
    laid = laid[::-1] if down else laid
    laid = laid[:, ::-1] if across else laid
    known = np.array([hash_of(grey, EVERYWHERE)], np.uint64)
    assert turned(known, turn)[0] == hash_of(laid, EVERYWHERE)


def test_images_that_little_distinguishes_have_no_hash():
    plain = np.full((CELLS, CELLS), 200.0)
    assert hash_of(plain, EVERYWHERE) is None
    edge = np.where(np.arange(CELLS) < CELLS // 2, 10.0, 200.0) * np.ones((CELLS, 1))
    assert hash_of(edge, EVERYWHERE) is None  # all it has are slopes
    corner = plain.copy()
    corner[:16, :16] = RNG.normal(100, 20, (16, 16))
    assert hash_of(corner, EVERYWHERE) is None  # white where a mosaic has ended
    little = np.zeros_like(EVERYWHERE)
    little[:10, :10] = True
    assert hash_of(RNG.normal(size=(CELLS, CELLS)), little) is None


def test_what_lies_in_the_void_does_not_matter():
    grey, valid = RNG.normal(size=(CELLS, CELLS)), RNG.random((CELLS, CELLS)) < 0.7
    assert hash_of(np.where(valid, grey, 1e6), valid) == hash_of(np.where(valid, grey, 0), valid)


# ---- the table


def hashed(catalog: Catalog):
    return bring_up_to_date(
        catalog, HASHES, engine="local", workers=2, again=False, track=lambda ids, total: ids
    )


def by_id(catalog: Catalog) -> dict[str, int]:
    columns = catalog.sql("SELECT id, hash FROM hashes").to_pydict()
    return dict(zip(*columns.values(), strict=True))


def test_a_catalog_knows_the_hash_of_what_its_files_hold(tif, tmp_path):
    values = np.stack([texture(128), texture(128), texture(128)])
    file = tif("images/a.tif", values.astype(np.float32))
    catalog = index([file], tmp_path / "c").catalog
    assert catalog.sql("SELECT * FROM hashes").num_rows == 0  # a catalog that was never checked
    assert hashed(catalog).done == 1
    (row,) = catalog.sql("SELECT id, hash, bytes FROM hashes").to_pylist()
    expected = hash_of(averaged(values.mean(axis=0)), EVERYWHERE)
    assert row == {"id": "a", "hash": expected, "bytes": file.stat().st_size}


def test_hashes_are_made_again_only_of_what_has_changed(tif, tmp_path):
    files = [tif(f"images/{n}.tif", texture(64)[None].astype(np.uint8)) for n in "abc"]
    catalog = index(files, tmp_path / "c").catalog
    assert (hashed(catalog).done, hashed(catalog).known) == (3, 3)
    tif("images/b.tif", texture(96)[None].astype(np.uint8))
    before = dict(
        zip(*catalog.sql("SELECT id, hash FROM hashes").to_pydict().values(), strict=True)
    )
    again = hashed(catalog)
    assert (again.done, again.known) == (1, 2)
    after = by_id(catalog)
    assert {id for id in after if after[id] != before[id]} == {"b"}
    # indexed anew, a file loses what was made of the old one
    updated = index(files, tmp_path / "c", update=True).catalog
    assert sorted(updated.sql("SELECT id FROM hashes")["id"].to_pylist()) == ["a", "c"]


def test_an_image_that_cannot_be_read_is_no_error_of_the_catalog(tif, tmp_path):
    files = [tif(f"images/{n}.tif", texture(64)[None].astype(np.uint8)) for n in "ab"]
    catalog = index(files, tmp_path / "c").catalog
    files[0].unlink()
    assert list(hashed(catalog).failed) == ["a"]
    assert len(Catalog.open(tmp_path / "c")) == 2


def test_hashes_can_be_compared_in_sql(tif, tmp_path):
    image = texture(64)[None].astype(np.uint8)
    files = [tif("images/a.tif", image), tif("images/b.tif", image[:, ::-1])]
    catalog = index(files, tmp_path / "c").catalog
    hashed(catalog)
    (apart,) = catalog.sql(
        "SELECT bit_count(xor(a.hash, b.hash)) AS n FROM hashes a, hashes b WHERE a.id < b.id"
    )["n"].to_pylist()
    kept = catalog.sql("SELECT hash FROM hashes ORDER BY id")["hash"].to_numpy()
    assert apart == np.bitwise_count(kept[0] ^ kept[1])
    assert kept[1] == turned(kept[:1], (False, True, False))[0]


def test_a_table_of_ones_own_cannot_be_called_hashes(tif, tmp_path):
    file = tif("images/a.tif", texture(64)[None].astype(np.uint8))
    catalog = index([file], tmp_path / "c").catalog
    with pytest.raises(Exception, match="cannot be called 'hashes'"):
        catalog.where("true", hashes=pa.table({"id": ["a"]}))
