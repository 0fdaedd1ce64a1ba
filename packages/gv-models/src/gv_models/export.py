"""Export of a package to one ONNX file that takes physical units and gives probabilities.

The graph holds normalisation, network, padding and sigmoid; batch, height and width are open. With
a single output it also carries the metadata that the QGIS plugin Deepness reads
(https://qgis-plugin-deepness.readthedocs.io, "Model metadata").
"""

import importlib.util
import json
import os
import secrets
import warnings
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gv_models.errors import ModelError
from gv_models.package import Package, Probabilities

OPSET = 17
"""Understood by ONNX Runtime since 1.12 (2022), which QGIS installations have."""

TOLERANCE = 1e-3
"""Largest difference of a probability that counts as the same output."""

_CHECKED_BHW = ((1, 64, 96), (2, 77, 45))
"""Shapes the two runtimes are compared on: neither the traced one, one odd."""


def to_onnx(package: Package, path: str | Path, *, head: str | None = None) -> float:
    """Write a package as ONNX and check that it gives the same output.

    Args:
        package: What to export.
        path: File to make or replace; it appears only after the check.
        head: Export this head alone. Deepness takes only files with one output.

    Returns:
        Largest absolute difference of a probability between ONNX Runtime and PyTorch, over random
        images of two sizes.

    Raises:
        ModelError: If the extra ``[onnx]`` is not installed, the head does not exist, or the
            outputs differ by more than :data:`TOLERANCE`.
    """
    for module in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            raise ModelError(f'ONNX export needs the package {module}: uv add "gv-models[onnx]"')
    if head is not None and head not in package.card.heads:
        raise ModelError(f"no head {head!r}: the package has {', '.join(package.card.heads)}")
    heads = list(package.card.heads) if head is None else [head]
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.part.onnx"
    try:
        graph = _Graph(package, heads).eval()
        _trace(graph, part, heads)
        _annotate(part, package, heads)
        difference = _difference(graph, part, package)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"ONNX Runtime differs from PyTorch by {difference:.2g} (allowed {TOLERANCE:g}): "
                f"{path} was not written"
            )
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)  # noqa: PTH105  the call that tests make fail
    finally:
        part.unlink(missing_ok=True)
    return difference


class _Graph(nn.Module):
    def __init__(self, package: Package, heads: list[str]) -> None:
        super().__init__()
        self.whole = Probabilities(package.network, package.card)
        self.names = heads

    def forward(self, image: Float[Tensor, "b c h w"]) -> tuple[Tensor, ...]:
        probabilities = self.whole(image)
        return tuple(probabilities[name] for name in self.names)


def _trace(graph: _Graph, path: Path, heads: list[str]) -> None:
    device = next(graph.parameters()).device
    bands = graph.whole.mean.shape[1]
    image = torch.zeros(1, bands, 64, 64, device=device)
    open_axes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        # The tracing exporter is deprecated and warns of each size it follows. Its successor was
        # tried with torch 2.15: minutes instead of seconds with open sizes, and only multiples of
        # 32 px.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (image,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=heads,
            dynamic_axes=dict.fromkeys(["image", *heads], open_axes),
        )


def _annotate(path: Path, package: Package, heads: list[str]) -> None:
    import onnx

    model = onnx.load(path)
    card = package.card
    metadata: dict[str, object] = {
        "gv_bands": [band.name for band in card.bands],
        "gv_gsd_m": card.gsd_m,
        "gv_heads": {head: list(card.heads[head]) for head in heads},
        "gv_licence": card.licence,
    }
    if len(heads) == 1:
        metadata |= _deepness(package, heads[0])
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in metadata.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _deepness(package: Package, head: str) -> dict[str, object]:
    card = package.card
    classes = list(card.heads[head])
    if len(classes) == 1:  # Deepness counts a single probability as background and class
        classes = ["background", *classes]
    bands = len(card.bands)
    return {
        "model_type": "Segmentor",
        "class_names": dict(enumerate(classes)),
        "resolution": round(card.gsd_m * 100, 4),  # cm a pixel
        "tiles_size": card.window_px,  # its documentation's name
        "tile_size": card.window_px,  # its code's name
        "tiles_overlap": round(100 * card.overlap_px / card.window_px),  # percent
        # it divides bytes by 255 and then standardises: this gives the bytes back to our graph,
        # unless the graph was trained on 0..1
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1.0 if max(b.p99 for b in card.bands) <= 1 else 1 / 255] * bands,
        "seg_thresh": card.threshold,
    }


def _difference(graph: _Graph, path: Path, package: Package) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    device = next(graph.parameters()).device
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch, height, width in _CHECKED_BHW:
        noise = torch.randn(batch, len(package.card.bands), height, width, generator=generator)
        image = noise * graph.whole.std.cpu() + graph.whole.mean.cpu()
        with torch.inference_mode():
            expected = graph(image.to(device))
        got = session.run(None, {"image": image.numpy()})
        for ours, theirs in zip(expected, got, strict=True):
            largest = max(largest, (ours.cpu() - torch.from_numpy(theirs)).abs().max().item())
    return largest
