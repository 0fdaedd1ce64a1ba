import importlib.util
import json
import os
import subprocess
import sys

import onnxruntime
import pytest
import torch

from gv_models.errors import ModelError
from gv_models.export import to_onnx
from gv_models.package import load, save


@pytest.fixture
def package(tmp_path, network, card):
    return load(save(tmp_path / "first", network, card))


def run(path, image):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert [put.name for put in session.get_inputs()] == ["image"]
    return dict(zip(names, session.run(None, {"image": image.numpy()}), strict=True))


def test_onnx_gives_the_same_probabilities_at_any_size(package, tmp_path):
    path = tmp_path / "model.onnx"
    difference = to_onnx(package, path)
    assert difference < 1e-4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert "model_type" not in session.get_modelmeta().custom_metadata_map, "two heads: no Deepness"
    for shape in ((1, 3, 128, 64), (3, 3, 31, 50)):
        image = torch.rand(shape) * 255
        got = run(path, image)
        for head, expected in package.predict(image).items():
            torch.testing.assert_close(torch.from_numpy(got[head]), expected, rtol=0, atol=1e-4)


def test_one_head_carries_what_deepness_reads(package, tmp_path):
    path = tmp_path / "model.onnx"
    to_onnx(package, path, head="interior")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["interior"]
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata["model_type"] == "Segmentor"
    assert metadata["class_names"] == {"0": "background", "1": "building"}
    assert metadata["resolution"] == 15
    assert metadata["tiles_size"] == metadata["tile_size"] == 512
    assert metadata["tiles_overlap"] == 12
    # what Deepness does to a byte before our graph: nothing in the end
    mean, std = metadata["standardization_mean"][0], metadata["standardization_std"][0]
    assert (200 / 255 - mean) / std == pytest.approx(200)


def test_a_failure_keeps_the_old_file(package, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        to_onnx(package, path)
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "model.onnx"]


def test_an_unknown_head_is_named(package, tmp_path):
    with pytest.raises(ModelError, match="no head 'roof': the package has interior, edge"):
        to_onnx(package, tmp_path / "model.onnx", head="roof")


def test_without_the_extra_the_error_says_how_to_get_it(package, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r'uv add "gv-models\[onnx\]"'):
        to_onnx(package, tmp_path / "model.onnx")


def test_importing_gv_models_imports_no_torch():
    code = "import sys, gv_models; dir(gv_models); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
