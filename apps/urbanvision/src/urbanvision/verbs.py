"""The verbs that work with a trained package: predict, evaluate, export."""

import argparse
from pathlib import Path

from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, positive
from gv_train.heap import keep_freed_memory
from urbanvision import map_files


def _predict_options(parser: Parser) -> None:
    parser.add_argument("package", type=Path, help="folder of the model package")
    parser.add_argument("scenes", type=Path, nargs="+", metavar="SCENE", help="images to map")
    parser.add_argument("--out", type=Path, required=True, help="folder for the maps")
    parser.add_argument("--overwrite", action="store_true", help="replace maps that are there")
    parser.add_argument(
        "--window-px", type=positive, help="side of a window (default: the package's)"
    )
    parser.add_argument(
        "--overlap-px", type=int, help="what windows share (default: the package's)"
    )
    parser.add_argument("--batch-size", type=positive, default=2, help="windows at once")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--no-georeference",
        dest="georeference",
        action="store_false",
        help="map scenes without CRS too, pixel by pixel",
    )
    parser.add_argument("--no-check", dest="check", action="store_false", help="skip the checks")


def _predict(values: argparse.Namespace, console: Console) -> int:
    values.scenes = map_files.wanted(values.scenes, values.out, overwrite=values.overwrite)
    keep_freed_memory()
    from urbanvision.predicting import predict

    return predict(values, console)


PREDICT = Command(
    "Map the buildings of scenes: probability raster, outlines, a picture.",
    (
        "urbanvision predict runs/buildings/latest/package SCENE.tif --out maps",
        "urbanvision predict PACKAGE scenes/*.tif --out maps --overwrite",
    ),
    _predict_options,
    _predict,
)


def _evaluate_options(parser: Parser) -> None:
    parser.add_argument("maps", type=Path, nargs="+", metavar="MAP", help="outlines, one a scene")
    parser.add_argument("--truth", type=Path, required=True, help="true buildings, in any CRS")
    parser.add_argument(
        "--scene", type=Path, nargs="+", required=True, help="the images, in the order of the maps"
    )
    parser.add_argument(
        "--labelled-area", type=Path, help="polygons inside which truth is complete"
    )
    parser.add_argument("--labels-crs", help="CRS of the truth where its file does not say it")
    parser.add_argument("--swap-xy", action="store_true", help="the truth holds y before x")
    parser.add_argument("--errors", type=Path, help="write hits, misses and false ones (.gpkg)")
    parser.add_argument("--min-iou", type=float, help="exit with 4 when the IoU is lower")
    parser.add_argument(
        "--json", nargs="?", const=True, default=False, metavar="FILE", help="JSON, also to a file"
    )


def _evaluate(values: argparse.Namespace, console: Console) -> int:
    from urbanvision.evaluating import evaluate

    return evaluate(values, console)


EVALUATE = Command(
    "Compare maps with true buildings: pixels and objects at IoU 0.5, scenes pooled.",
    (
        "urbanvision evaluate maps/a.buildings.parquet --truth roofs.gpkg --scene a.tif",
        "urbanvision evaluate maps/*.parquet --truth roofs.gpkg --scene a.tif b.tif --json s.json",
    ),
    _evaluate_options,
    _evaluate,
)


def _export_options(parser: Parser) -> None:
    parser.add_argument("package", type=Path, help="folder of the model package")
    parser.add_argument("--out", type=Path, help="ONNX file (default: model.onnx in the package)")
    parser.add_argument(
        "--head", help="one head alone, such as interior: Deepness in QGIS wants one output"
    )


def _export(values: argparse.Namespace, console: Console) -> int:
    from gv_models import package
    from gv_models.export import to_onnx

    out = values.out or values.package / "model.onnx"
    difference = to_onnx(package.load(values.package), out, head=values.head)
    size = out.stat().st_size / 1e6
    console.answer(
        {"onnx": str(out), "max_difference": difference},
        f"{out}   {size:.1f} MB   same probabilities within {difference:.1e}",
    )
    return 0


EXPORT = Command(
    "Write a package as ONNX and check that it gives the same probabilities.",
    (
        "urbanvision export runs/buildings/latest/package",
        "urbanvision export runs/buildings/latest/package --head interior --out roofs.onnx",
    ),
    _export_options,
    _export,
)
