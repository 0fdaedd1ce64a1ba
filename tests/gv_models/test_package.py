import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gv_models import package as packages
from gv_models.card import Band, Card
from gv_models.errors import PackageError
from gv_models.networks import unet
from gv_models.package import load, save

FILES = {"weights.safetensors", "model.json", "README.md", "item.json"}


@pytest.fixture
def folder(tmp_path, network, card):
    return save(tmp_path / "first", network, card)


def manifest(folder):
    return json.loads((folder / "model.json").read_text())


def rewrite(folder, **changes):
    (folder / "model.json").write_text(json.dumps(manifest(folder) | changes))


def recard(folder, **changes):
    rewrite(folder, card=manifest(folder)["card"] | changes)


def replace_weights(folder, content):
    """Put other bytes in, with a checksum that fits: what an attacker would do."""
    (folder / "weights.safetensors").write_bytes(content)
    files = manifest(folder)["files"]
    rewrite(folder, files=files | {"weights.safetensors": hashlib.sha256(content).hexdigest()})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_loaded_predicts_what_was_saved(folder, network, card):
    image = torch.rand(2, 3, 45, 70) * 255
    mean = torch.tensor([110.0, 105.0, 4.0])[:, None, None]
    std = torch.tensor([50.0, 45.0, 6.5])[:, None, None]
    loaded = load(folder)
    network.eval()
    with torch.inference_mode():
        expected = network((image - mean) / std)
    probabilities = loaded.predict(image)
    assert {name: tuple(p.shape) for name, p in probabilities.items()} == {
        "interior": (2, 1, 45, 70),
        "edge": (2, 2, 45, 70),
    }
    for head, logits in expected.items():
        torch.testing.assert_close(probabilities[head], logits.sigmoid())
    assert not loaded.network.training
    assert loaded.card == card
    assert loaded.card.metrics == {"iou": 0.71, "iou_of_absent_class": None}


def test_weights_come_back_bit_for_bit(folder, network):
    loaded = load(folder).network.state_dict()
    assert loaded.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


def test_a_network_trained_with_channels_innermost_is_saved_too(tmp_path, network, card):
    other = unet(**network.arguments, bands=3, heads={"interior": 1, "edge": 2})
    other.to(memory_format=torch.channels_last)
    loaded = load(save(tmp_path / "other", other, card)).network
    for name, value in other.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_others_may_read_all_files_and_nothing_is_left_over(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert [path.name for path in folder.parent.iterdir()] == ["first"]


def test_an_existing_folder_is_replaced_only_when_asked(folder, network, card):
    with pytest.raises(PackageError, match="exists already"):
        save(folder, network, card)
    save(folder, network, dataclasses.replace(card, gsd_m=0.3), overwrite=True)
    assert load(folder).card.gsd_m == 0.3
    assert [path.name for path in folder.parent.iterdir()] == ["first"]


def test_a_folder_that_is_no_package_is_never_replaced(tmp_path, network, card):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(PackageError, match="is not a package and will not be replaced"):
        save(tmp_path / "photos", network, card, overwrite=True)


def test_a_card_of_another_network_is_refused_before_anything_is_written(tmp_path, network, card):
    wrong = dataclasses.replace(card, heads={"interior": ("building",)})
    with pytest.raises(PackageError, match=r"2 tensors differ, first heads\.edge\.bias"):
        save(tmp_path / "first", network, wrong)
    assert list(tmp_path.iterdir()) == []


def failing(function, call):
    """The function, but its n-th call finds the disk full."""
    calls = 0

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args, **kwargs)

    return fail


@pytest.mark.robust
@pytest.mark.parametrize("before", ["nothing", "a package"])
@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [(os, "replace", 2), (os, "fsync", 6), (packages.safetensors.torch, "save_file", 1)],
)
def test_a_fault_at_any_step_leaves_the_old_package_or_a_whole_new_one(
    tmp_path, network, card, monkeypatch, before, module, name, calls
):
    folder, new = tmp_path / "first", dataclasses.replace(card, gsd_m=0.3)
    fired = 0
    for call in range(1, calls + 1):
        shutil.rmtree(folder, ignore_errors=True)
        old = contents(save(folder, network, card)) if before == "a package" else None
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(getattr(module, name), call))
            try:
                save(folder, network, new, overwrite=True)
            except OSError:
                fired += 1
        if folder.exists() and contents(folder) != old:
            assert load(folder).card.gsd_m == 0.3
        else:
            assert (contents(folder) if folder.exists() else None) == old
        assert [path for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    assert fired == (calls if before == "a package" or name != "replace" else 1)
    save(folder, network, new, overwrite=True)
    assert load(folder).card.gsd_m == 0.3
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_left_overs_of_killed_processes_are_swept_by_the_next_save(tmp_path, network, card):
    dead = subprocess.Popen(["true"])
    dead.wait()
    living = tmp_path / f".first.{os.getpid()}.00000000.part"
    for left_over in (living, *(tmp_path / f".first.{dead.pid}.0000000{n}.part" for n in "12")):
        left_over.mkdir()
    (tmp_path / f".first.{dead.pid}.00000003.old").mkdir()
    save(tmp_path / "first", network, card)
    assert {path.name for path in tmp_path.iterdir()} == {"first", living.name}


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_a_pickle_in_place_of_the_weights_is_not_opened(folder, tmp_path):
    replace_weights(folder, pickle.dumps(Bomb(tmp_path / "canary")))
    with pytest.raises(PackageError, match="is not a safetensors file"):
        load(folder)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(PackageError, match=f"{name}"):
        load(folder)


@pytest.mark.parametrize("name", sorted(FILES - {"model.json"}))
def test_a_flipped_bit_is_noticed(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=f"{name} is not the file that was saved"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: rewrite(f, schema=2), r"has schema 2, this gv-models reads up to 1"),
        (lambda f: rewrite(f, schema="1"), "has no schema version"),
        (lambda f: rewrite(f, schema=0), "unknown or missing fields"),
        (lambda f: rewrite(f, extra=1), "unknown or missing fields, it holds card, extra"),
        (lambda f: rewrite(f, files={}), "must list exactly weights.safetensors"),
        (lambda f: rewrite(f, files={"../../etc/passwd": "0"}), "must list exactly"),
        (lambda f: rewrite(f, card=[]), "the card must be an object"),
        (lambda f: recard(f, constructor="os.system"), "no constructor 'os.system'"),
        (lambda f: recard(f, constructor=["unet"]), "no constructor"),
        (lambda f: recard(f, extra=1), "the card: unknown fields extra"),
        (lambda f: recard(f, gsd_m=-1), "gsd_m must be a number above 0, got -1"),
        (lambda f: recard(f, window_px=1e9), "window_px must be a whole number"),
        (lambda f: recard(f, overlap_px=512), r"overlap_px must be a whole number in 0\.\.511"),
        (lambda f: recard(f, bbox=[1, 2]), "bbox must be a list"),
        (lambda f: recard(f, licence="two\nlines"), "licence must be one line"),
        (lambda f: recard(f, heads={"a.b": ["x"]}), "needs a name"),
        (lambda f: recard(f, heads={}), "at least one head"),
        (lambda f: recard(f, bands=[]), "bands need one name each"),
        (lambda f: recard(f, bands=[{"name": "red"}]), "a band: missing or unknown fields"),
        (
            lambda f: recard(
                f, arguments={"encoder": "tu-hf-hub:a/b", "decoder_channels": [16, 8, 8, 4, 4]}
            ),
            "no encoder 'tu-hf-hub:a/b'",
        ),
        (
            lambda f: recard(
                f, arguments={"encoder": "resnet18", "decoder_channels": [10**9, 8, 8, 4, 4]}
            ),
            "decoder_channels must be a whole number",
        ),
        (
            lambda f: recard(
                f, arguments={"encoder": "resnet18", "decoder_channels": [16, 8, 8, 4, 4]}
            ),
            r"does not fit .*model\.json: \d+ tensors differ",
        ),
        (lambda f: (f / "model.json").write_text("{"), "is damaged, copy the package again"),
        (lambda f: (f / "model.json").write_text("[" * 90_000), "is damaged"),
        (lambda f: (f / "model.json").write_text("7"), "is not the manifest"),
        (lambda f: (f / "model.json").write_text(" " * 1_000_001), "larger than 1,000,000 bytes"),
        (lambda f: replace_weights(f, b""), "is not a safetensors file"),
    ],
)
def test_a_hostile_or_damaged_manifest_gives_one_clear_line(folder, change, message):
    change(folder)
    with pytest.raises(PackageError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_manifest_is_no_package(tmp_path):
    with pytest.raises(PackageError, match=r"is not a model package: it has no model\.json"):
        load(tmp_path)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_any_other_bytes_in_the_manifest_are_read_or_refused(folder, position, mutation):
    original = (folder / "model.json").read_bytes()
    start = position % len(original)
    changed = original[:start] + mutation + original[start + len(mutation) :]
    (folder / "model.json").write_bytes(changed)
    try:
        packages._manifest(folder)
    except PackageError:
        pass
    finally:
        (folder / "model.json").write_bytes(original)


@pytest.mark.parametrize(
    "json_value", [None, True, -1, 0.5, "", "x", [], ["x"], {}, {"x": 1}, 1e999, [[1]] * 5]
)
def test_any_json_value_in_any_field_is_read_or_refused(card, json_value):
    cards = [card.to_json() | {field.name: json_value} for field in dataclasses.fields(Card)]
    band = vars(card.bands[0])
    cards += [
        card.to_json() | {"bands": [band | {field.name: json_value}]}
        for field in dataclasses.fields(Band)
    ]
    for data in cards:
        with contextlib.suppress(PackageError):
            Card.from_json(data)


def test_predict_refuses_other_band_counts(folder):
    with pytest.raises(PackageError, match=r"wants \(b, 3, h, w\), got \(1, 4, 8, 8\)"):
        load(folder).predict(torch.zeros(1, 4, 8, 8))


def test_the_readme_tells_what_a_user_asks(folder):
    text = (folder / "README.md").read_text()
    for fact in (
        "building (interior)",
        "0.15 m GSD (accepted: 0.0375 to 0.6 m)",
        "| height |  | 4 | 6.5 | -1 | 22 |",
        "CC-BY-4.0",
        "buildings/first",
        "| iou | 0.71 |",
        "| iou_of_absent_class | undefined |",
    ):
        assert fact in text


def test_the_stac_item_holds_what_the_mlm_extension_requires(folder, network, card):
    item = json.loads((folder / "item.json").read_text())
    properties = item["properties"]
    required = ("name", "architecture", "tasks", "framework", "input", "output")
    assert all(f"mlm:{field}" in properties for field in required)
    (image,) = properties["mlm:input"]
    assert image["bands"] == [band["name"] for band in item["assets"]["weights"]["bands"]]
    assert image["value_scaling"][2] == {"type": "z-score", "mean": 4.0, "stddev": 6.5}
    assert [output["name"] for output in properties["mlm:output"]] == ["interior", "edge"]
    assert properties["mlm:total_parameters"] == sum(p.numel() for p in network.parameters())
    assert item["assets"]["weights"]["roles"] == ["mlm:model", "mlm:weights"]
    assert item["bbox"] == [39.1, -6.3, 39.4, -6.0]
    for asset in item["assets"].values():
        assert (folder / asset["href"]).is_file()


def test_a_bounding_box_across_the_antimeridian_is_two_polygons(tmp_path, network, card):
    across = dataclasses.replace(card, bbox=(179.0, -18.0, -178.0, -16.0))
    item = json.loads((save(tmp_path / "fiji", network, across) / "item.json").read_text())
    assert item["bbox"] == [179.0, -18.0, -178.0, -16.0]
    assert item["geometry"]["type"] == "MultiPolygon"
    ((west,), (east,)) = item["geometry"]["coordinates"]
    assert west[0] == [179.0, -18.0]
    assert west[2] == [180.0, -16.0]
    assert east[0] == [-180.0, -18.0]
    assert east[2] == [-178.0, -16.0]


def test_without_a_bounding_box_the_item_has_a_null_geometry(tmp_path, network, card):
    folder = save(tmp_path / "first", network, dataclasses.replace(card, bbox=None))
    item = json.loads((folder / "item.json").read_text())
    assert item["geometry"] is None
    assert "bbox" not in item
