"""Objects of COCO JSON in the pixels of a catalog, against pycocotools and shapely."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy.spatial import ConvexHull

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError, VectorError
from gv_data.intake.image_row import Part
from gv_data.intake.indexing import index
from gv_data.labels import coco
from gv_data.labels.labels import Labels
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.sources import IGNORE
from gv_data.stac.stac_import import import_stac

RNG = np.random.default_rng(8)
HEIGHT, WIDTH = 60, 80
IMAGE = RNG.integers(1, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
BLOB = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
BLOB[35:50, 10:30], BLOB[40:44, 15:20], BLOB[52:55, 12:14] = 1, 0, 1
FRINGE = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
FRINGE[45:58, 50:75] = RNG.integers(0, 2, (13, 25))
CATEGORIES = [{"id": 7, "name": "shed"}, {"id": 3, "name": "house"}, {"id": 5, "name": "tank"}]

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::rasterio.errors.NotGeoreferencedWarning"  # images as people have them
    ),
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation:DeprecationWarning"  # of pycocotools with numpy 2
    ),
]


def runs(mask: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=2))
    return np.diff(edges, prepend=0).tolist()


def text(mask: np.ndarray) -> str:
    encoded: Any = coco_mask.encode(mask)
    return encoded["counts"].decode()


def annotation(id: int, image: int, category: int, **outline: Any) -> dict[str, Any]:
    return {"id": id, "image_id": image, "category_id": category, "iscrowd": 0, **outline}


ANNOTATIONS = [
    annotation(1, 1, 3, segmentation=[[5, 5, 20, 5, 20, 15, 5, 15]], bbox=[5, 5, 15, 10]),
    annotation(2, 1, 7, bbox=[30, 8, 12, 9]),
    annotation(3, 1, 5, segmentation={
        "size": [HEIGHT, WIDTH], "counts": text(BLOB),
    }),
    annotation(4, 1, 3, segmentation={"size": [HEIGHT, WIDTH], "counts": runs(FRINGE)}),
    annotation(5, 1, 3, segmentation=[
        [50, 5, 60, 5, 60, 15, 50, 15], [55, 10, 70, 10, 70, 20, 55, 20],
    ]),
]  # fmt: skip


@pytest.fixture
def labels(tmp_path) -> Callable[..., Path]:
    """Writes a file; images are given as names or as what the file says of them."""

    def write(
        images: list[Any], annotations: list[Any] = ANNOTATIONS, name: str = "objects.json", **more
    ) -> Path:
        size = {"width": WIDTH, "height": HEIGHT}
        listed = [
            one if isinstance(one, dict) else {"id": n, "file_name": one, **size}
            for n, one in enumerate(images, 1)
        ]
        data = {"images": listed, "annotations": annotations, "categories": CATEGORIES, **more}
        path = tmp_path / name
        path.write_text(json.dumps({"info": {"year": 2023}, **data}))
        return path

    return write


def as_pycocotools(path: Path, image: int, names: tuple[str, ...]) -> np.ndarray:
    """The class of each pixel, later objects over earlier ones."""
    with redirect_stdout(StringIO()):
        theirs = COCO(path)
    burnt = np.zeros((HEIGHT, WIDTH), np.int64)
    for one in theirs.loadAnns(theirs.getAnnIds(imgIds=[image])):
        if not one.get("segmentation"):
            left, top, width, height = one["bbox"]
            right, bottom = left + width, top + height
            one["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
        name = theirs.cats[one["category_id"]]["name"]
        burnt[theirs.annToMask(one) > 0] = names.index(name) + 1
    return burnt


def test_objects_are_burnt_as_pycocotools_does(tif, labels, tmp_path):
    path = labels(["a.tif"])
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)
    source = found.catalog.sources[0]
    assert source.classes == ("house", "tank", "shed")  # in the order of their ids
    assert source.labels_format == "coco"
    expected = as_pycocotools(path, 1, source.classes)
    sample = found.catalog.dataset()[0]
    np.testing.assert_array_equal(sample["mask"], expected)
    assert (found.objects, found.outside, found.dropped, found.unlabelled) == (5, 0, 0, 0)
    rows = found.catalog.sql(
        "SELECT class, objects, pixels FROM labels ORDER BY number"
    ).to_pylist()
    names = ["background", *source.classes]
    assert [row["class"] for row in rows] == names
    assert [row["objects"] for row in rows] == [None, 3, 1, 1]
    assert [row["pixels"] for row in rows] == np.bincount(expected.ravel()).tolist()


def test_windows_and_parts_show_their_piece_of_the_objects(tif, labels, tmp_path):
    path = labels(["a.tif"])
    halves = [Part("-top", 0, 0, 30, WIDTH), Part("-low", 30, 10, 30, WIDTH - 10)]
    found = index(
        [tif("a.tif", IMAGE)], tmp_path / "c", labels=path, parts=lambda scene, labels: halves
    )
    expected = as_pycocotools(path, 1, found.catalog.sources[0].classes)
    low, top = found.catalog.dataset()[0], found.catalog.dataset()[1]
    np.testing.assert_array_equal(low["mask"], expected[30:, 10:])
    np.testing.assert_array_equal(top["mask"], expected[:30])
    assert found.objects == 5
    assert [image.objects for image in found.catalog.images] == [2, 3]


def test_outlines_with_fractions_burn_the_pixels_whose_centres_they_hold(tif, labels, tmp_path):
    corners = np.round(RNG.uniform(5, 55, (6, 2)), 2)
    ring = corners[ConvexHull(corners).vertices].tolist()
    segmentation = [[value for corner in ring for value in corner]]
    path = labels(["a.tif"], [annotation(1, 1, 3, segmentation=segmentation)])
    catalog = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path).catalog
    mask = catalog.dataset()[0]["mask"].numpy()
    hull = shapely.Polygon(ring)
    burnt = rasterio.features.rasterize([hull], out_shape=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(mask, burnt)
    theirs = as_pycocotools(path, 1, catalog.sources[0].classes)
    rows, columns = np.nonzero(mask != theirs)  # theirs takes pixels that an outline runs through
    centres = shapely.points(columns + 0.5, rows + 0.5)
    assert shapely.distance(hull.exterior, centres).max(initial=0) < 1


def test_polygons_lie_where_the_transform_of_their_image_puts_them(tif, labels, tmp_path):
    path = labels(["a.tif"])
    lonlat = Affine(1e-5, 0, 39, 0, -1e-5, 27)
    index([tif("a.tif", IMAGE, crs="EPSG:4326", transform=lonlat)], tmp_path / "c", labels=path)
    (image,) = Catalog.open(tmp_path / "c").images
    labels_of = Labels.of(image)
    assert labels_of.shapes.crs == image.grid.crs
    expected = shapely.box(39 + 30e-5, 27 - 17e-5, 39 + 42e-5, 27 - 8e-5)
    assert labels_of.shapes[1].symmetric_difference(expected).area < 1e-20


def test_images_without_georeference_have_objects_too(tif, labels, tmp_path):
    path = labels(["a.png", "b.png"], [*ANNOTATIONS, annotation(9, 2, 7, bbox=[1, 2, 3, 4])])
    for name in ("a", "b"):
        tif(f"images/{name}.png", IMAGE, crs=None, driver="PNG")
    words: dict[str, Any] = {"labels": path, "georeference": False}
    with pytest.raises(CatalogError, match="no CRS or transform"):
        index([tmp_path / "images"], tmp_path / "c", labels=path)
    found = index([tmp_path / "images"], tmp_path / "c", **words)
    classes = found.catalog.sources[0].classes
    dataset = found.catalog.dataset()
    for n in range(2):
        np.testing.assert_array_equal(dataset[n]["mask"], as_pycocotools(path, n + 1, classes))
    owners, numbers, centres = dataset.objects()
    assert owners.tolist() == [0, 0, 0, 0, 0, 1]
    assert len(set(numbers.tolist())) == 6
    assert centres[-1].tolist() == [2.5, 4]
    table = found.catalog.sql("SELECT sum(pixels) AS n, sum(area_m2) AS m2 FROM labels").to_pylist()
    assert table == [{"n": 2 * HEIGHT * WIDTH, "m2": None}]


def test_a_crowd_is_ground_of_which_nothing_is_known(tif, labels, tmp_path):
    crowd = annotation(9, 1, 3, iscrowd=1, segmentation={
        "size": [HEIGHT, WIDTH], "counts": runs(BLOB),
    })  # fmt: skip
    house = annotation(1, 1, 3, segmentation=[[8, 33, 14, 33, 14, 40, 8, 40]])
    path = labels(["a.tif"], [house, crowd])
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)
    expected = np.where(BLOB > 0, IGNORE, 0)
    expected[33:40, 8:14] = 1  # what somebody drew is known in a crowd too
    np.testing.assert_array_equal(found.catalog.dataset()[0]["mask"], expected)
    assert (found.objects, found.dropped) == (1, 0)
    rows = found.catalog.sql("SELECT pixels FROM labels ORDER BY number")["pixels"].to_pylist()
    assert rows[:2] == [(expected == 0).sum(), 42]


def test_classes_choose_and_order_categories(tif, labels, tmp_path):
    path, image = labels(["a.tif"]), tif("a.tif", IMAGE)
    found = index([image], tmp_path / "c", labels=path, classes=("tank", "house"))
    full = as_pycocotools(path, 1, ("house", "tank", "shed"))
    expected = np.array([0, 2, 1, 0])[full]
    np.testing.assert_array_equal(found.catalog.dataset()[0]["mask"], expected)
    assert (found.objects, found.dropped) == (4, 1)
    with pytest.raises(VectorError, match="none of the classes roof; its categories are: house"):
        index([image], tmp_path / "d", labels=path, classes=("roof",))


def test_images_are_found_by_their_folders_then_by_their_name(tif, labels, tmp_path):
    for name in ("x/a", "y/a", "z/b", "c", "d"):
        tif(f"images/{name}.tif", IMAGE)
    box = [annotation(n, n, 3, bbox=[n, n, 10, 10]) for n in range(1, 6)]
    path = labels(["x/a.tif", "y\\a.tif", "elsewhere/b.jpg", "images/c.tif", "e.tif"], box)
    found = index([tmp_path / "images"], tmp_path / "c", labels=path)
    left = {}
    for image in found.catalog.where("vectors IS NOT NULL").images:
        left[image.id] = round(2 * (Labels.of(image).shapes[0].bounds[0] - 500_000))
    assert left == {"x/a": 1, "y/a": 2, "z/b": 3, "c": 4}
    assert (found.objects, found.outside, found.unnamed, found.unlabelled) == (4, 1, 1, 1)
    assert found.catalog.sql("SELECT id FROM images WHERE vectors IS NULL")["id"].to_pylist() == [
        "d"
    ]
    assert "1 images without a label (1 not named by the file)" in found.labels_said


def test_an_image_that_only_shares_the_name_of_one_that_is_there_has_no_labels(
    tif, labels, tmp_path
):
    for name in ("x/a", "y/a"):
        tif(f"images/{name}.tif", IMAGE)
    found = index([tmp_path / "images"], tmp_path / "c", labels=labels(["x/a.tif"]))
    rows = found.catalog.sql("SELECT id, objects FROM images ORDER BY id").to_pylist()
    assert rows == [{"id": "x/a", "objects": 5}, {"id": "y/a", "objects": None}]


def test_images_that_could_be_several_are_refused(tif, labels, tmp_path):
    for name in ("x/a", "y/a", "b"):
        tif(f"images/{name}.tif", IMAGE)
    box = [annotation(1, 2, 3, bbox=[1, 1, 10, 10])]
    found = index([tmp_path / "images"], tmp_path / "c", labels=labels(["a.tif", "b.tif"], box))
    assert [image.id for image in found.catalog.images] == ["b"]
    assert [path.parent.name for path, _ in found.refused] == ["x", "y"]
    assert "could both be a.tif of" in found.refused[0][1]
    other = labels(["p/a.tif", "q/a.tif", "b.tif"], [annotation(1, 3, 3, bbox=[1, 1, 9, 9])])
    found = index([tmp_path / "images"], tmp_path / "d", labels=other)
    assert "could be p/a.tif or q/a.tif of" in found.refused[0][1]


def test_an_image_of_another_size_is_refused_with_both(tif, labels, tmp_path):
    tif("images/a.tif", IMAGE)
    tif("images/b.tif", IMAGE[:, :50])
    found = index([tmp_path / "images"], tmp_path / "c", labels=labels(["a.tif", "b.tif"]))
    ((path, reason),) = found.refused
    assert path.name == "b.tif"
    assert "80 x 50 px" in reason
    assert "80 x 60" in reason


def test_a_named_image_without_objects_shows_none(tif, labels, tmp_path):
    tif("images/a.tif", IMAGE)
    tif("images/b.tif", IMAGE)
    found = index([tmp_path / "images"], tmp_path / "c", labels=labels(["a.tif", "b.tif"]))
    assert [image.objects for image in found.catalog.images] == [5, 0]
    assert (found.unlabelled, found.unnamed) == (1, 0)
    assert not found.catalog.dataset()[1]["mask"].any()


def test_a_file_for_other_images_or_with_all_objects_on_others_is_refused(tif, labels, tmp_path):
    image = tif("a.tif", IMAGE)
    with pytest.raises(
        CatalogError, match=r"names none of the 1 images, such as a\.tif; it names b"
    ):
        index([image], tmp_path / "c", labels=labels(["b.tif"]))
    elsewhere = labels(["a.tif", "b.tif"], [annotation(1, 2, 3, bbox=[1, 1, 9, 9])])
    with pytest.raises(CatalogError, match="holds no object on the images that it names"):
        index([image], tmp_path / "c", labels=elsewhere)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"labels_crs": "EPSG:4326"},
        {"swap_xy": True},
        {"label_column": "kind"},
        {"line_width_m": 3.0},
        {"labelled_area": Path("area.gpkg")},
    ],
)
def test_settings_of_polygons_are_refused(setting, tif, labels, tmp_path):
    with pytest.raises(CatalogError, match="is COCO JSON, whose objects lie in pixels"):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=labels(["a.tif"]), **setting)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bbox": [1, 2, 3]}, "id 4 has neither a segmentation nor a bbox of four numbers"),
        ({"bbox": [1, 2, 3, "x"]}, "id 4 holds what is no number"),
        ({"bbox": [1, 2, 3, float("nan")]}, "id 4 holds what is no finite number"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "id 4 has a polygon of 5 numbers"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "id 4 has a segmentation that is neither"),
        ({"segmentation": [[1, 2, None, 4, 5, 6]]}, "id 4 holds what is no number"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("inf")]]}, "id 4 holds what is no finite"),
        ({"segmentation": {"size": [5, 5], "counts": [25]}}, "a mask of 5 x 5 px, its image 80 x"),
        ({"bbox": [1, 2, 3, 4], "category_id": 99}, "id 4 is of category 99"),
        ({"bbox": [1, 2, 3, 4], "image_id": None}, "id 4 has no image_id, or no number"),
    ],
)
def test_a_wrong_annotation_is_named(wrong, said, tif, labels, tmp_path):
    path = labels(["a.tif"], [*ANNOTATIONS[:3], annotation(4, 1, 3) | wrong])
    with pytest.raises(VectorError, match=said):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)


def test_damaged_runs_cost_their_image_only(tif, labels, tmp_path):
    damaged = {"size": [HEIGHT, WIDTH], "counts": "zzz"}
    path = labels(["a.tif", "b.tif"], [*ANNOTATIONS, annotation(9, 2, 3, segmentation=damaged)])
    tif("images/a.tif", IMAGE)
    tif("images/b.tif", IMAGE)
    found = index([tmp_path / "images"], tmp_path / "c", labels=path)
    ((name, reason),) = found.refused
    assert name.name == "b.tif"
    assert "annotation 6 has runs that are not those of a mask of 80 x 60 px" in reason


def test_what_has_no_area_is_counted_and_left_out(tif, labels, tmp_path):
    flat = [
        annotation(6, 1, 3, bbox=[5, 5, 0, 9]),
        annotation(7, 1, 3, segmentation=[[1, 2, 3, 4]]),
        annotation(8, 1, 3, segmentation={"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}),
        annotation(9, 77, 3, bbox=[5, 5, 9, 9]),  # of an image that the file does not list
    ]
    path = labels(["a.tif"], [*ANNOTATIONS, *flat])
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)
    assert (found.objects, found.dropped) == (5, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": [{"id": 1}]}, "a category has an id of its own and a name"),
        ({"images": [{"id": 1}]}, "an image has an id of its own and a file_name"),
        ({"annotations": {}}, "has no list of annotations"),
        ({"categories": None}, "is of category 3, which the file does not name"),
    ],
)
def test_what_is_no_coco_is_refused(change, said, tif, labels, tmp_path):
    path = labels(["a.tif"])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(VectorError, match=said):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)


def test_a_cut_file_is_refused(tif, labels, tmp_path):
    path = labels(["a.tif"])
    path.write_text(path.read_text()[:-40])
    with pytest.raises(VectorError, match="cannot be read as JSON"):
        index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)


def test_geojson_that_ends_in_json_is_still_geojson(tif, tmp_path):
    house = gpd.GeoSeries([shapely.box(500_005, 2_999_985, 500_015, 2_999_995)], crs="EPSG:32637")
    path = tmp_path / "houses.json"
    path.write_text(house.to_crs("EPSG:4326").to_json())
    found = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path)
    assert found.catalog.sources[0].labels_format == "vector"
    assert found.objects == 1


def test_a_file_is_parsed_once_whatever_is_asked_of_it(tif, labels, tmp_path, monkeypatch):
    names = [f"{n}.tif" for n in range(6)]
    for name in names:
        tif(f"images/{name}", IMAGE)
    boxes = [annotation(n, n, 3, bbox=[n, n, 9, 9]) for n in range(1, 7)]
    path = labels(names, boxes)
    parsed = []
    made = coco.Coco.__init__

    def counted(self, path, data):
        parsed.append(path)
        made(self, path, data)

    monkeypatch.setattr(coco.Coco, "__init__", counted)
    catalog = index([tmp_path / "images"], tmp_path / "c", labels=path).catalog
    dataset = catalog.dataset()
    assert len(dataset.objects()[0]) == 6
    assert [int(dataset[n]["mask"].sum()) for n in range(6)] == [81] * 6
    assert len(parsed) == 1
    path.write_text(path.read_text() + "\n")  # another file now
    assert len(catalog.dataset().objects()[0]) == 6
    assert len(parsed) == 2


def test_a_catalog_goes_to_stac_and_back(tif, labels, tmp_path):
    path = labels(["a.tif"])
    there = index([tif("a.tif", IMAGE)], tmp_path / "c", labels=path, classes=("shed", "house"))
    table = tmp_path / "items.parquet"
    there.catalog.to_stac(table)
    back = import_stac([table], tmp_path / "d", root=tmp_path).catalog
    assert back.sources[0].labels_format == "coco"
    np.testing.assert_array_equal(back.dataset()[0]["mask"], there.catalog.dataset()[0]["mask"])
    assert [image.objects for image in back.images] == [4]


def test_the_commands_work_on_such_a_catalog(tif, labels, tmp_path, command):
    names = [f"{n:02d}.png" for n in range(12)]
    for n, name in enumerate(names):
        pixels = np.random.default_rng(n).integers(1, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
        tif(f"images/{name}", pixels, crs=None, driver="PNG")
    boxes = [
        annotation(n, n // 3 + 1, (3, 5, 7)[n % 3], bbox=[10 + 20 * (n % 3), 10, 12, 30])
        for n in range(36)
    ]
    path, out = labels(names, boxes), tmp_path / "c"
    code, told, _ = command(
        "index", tmp_path / "images", "--labels", path, "--no-georeference", "--no-measure",
        "--out", out, "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(told)["labels"]["on_images"] == 36
    assert command("measure", out)[0] == 0
    counted = Catalog.open(out).sql(
        "SELECT class, sum(pixels) AS pixels, sum(objects) AS objects FROM labels GROUP BY class "
        "ORDER BY class"
    )
    assert counted.to_pylist() == [
        {"class": "background", "pixels": 12 * (HEIGHT * WIDTH - 3 * 360), "objects": None},
        *({"class": name, "pixels": 12 * 360, "objects": 12} for name in ("house", "shed", "tank")),
    ]
    code, told, _ = command("check", out, "--json")
    assert code == 0, told
    code, told, _ = command("show", out, "--out", tmp_path / "sheet.png")
    assert code == 0, told
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    code, told, said = command("split", out, "--by", "label", "--val", "0.25", "--test", "0.25")
    assert code == 0, told + said
    shares = Catalog.open(out).sql(
        "SELECT split, count(*) AS n FROM images GROUP BY ALL ORDER BY 1"
    )
    assert shares["n"].to_pylist() == [3, 6, 3]
    code, told, _ = command("index", tmp_path / "images", "--labels", path, "--out", tmp_path / "d")
    assert code == 2


def test_a_sheet_shows_the_outlines_of_objects(tif, labels, tmp_path):
    from gv_data.pictures.thumbnails import LabelFiles, thumbnail

    path = labels(["a.png"], ANNOTATIONS[:2])
    tif("a.png", IMAGE, crs=None, driver="PNG")
    words: dict[str, Any] = {"labels": path, "georeference": False}
    (image,) = index([tmp_path / "a.png"], tmp_path / "c", **words).catalog.images
    outlines = thumbnail(image, 80, LabelFiles()).outlines
    drawn = {
        name: [shapely.Polygon(ring).bounds for ring in rings] for name, rings in outlines.items()
    }
    assert drawn == {"house": [(5, 5, 20, 15)], "shed": [(30, 8, 42, 17)]}


@pytest.mark.real_data
def test_boxes_of_real_buildings_hold_their_polygons(real_buildings, tmp_path):
    """The same buildings of Banepa as outlines and as boxes; the file names 48 of 91 tiles."""
    data = real_buildings / "banepa_tiles"
    boxes = index([data / "images"], tmp_path / "boxes", labels=data / "detection_labels.json")
    drawn = index([data / "images"], tmp_path / "drawn", labels=data / "labels.geojson").catalog
    named = len(json.loads((data / "detection_labels.json").read_text())["images"])
    assert (boxes.added, boxes.unnamed, boxes.outside) == (91, 91 - named, 0)
    labelled = boxes.catalog.where("vectors IS NOT NULL")
    every = Labels.of(drawn.images[0])
    held = 0
    for image in labelled.images:
        grid = image.grid
        tile = shapely.box(*grid.bounds)
        polygons = shapely.bounds(shapely.intersection(every.polygons(grid), tile))
        box_px, polygon_px = (
            np.array([grid.rows_columns(tuple(one)) for one in bounds])
            for bounds in (shapely.bounds(Labels.of(image).shapes.to_numpy()), polygons)
        )
        apart = np.abs(polygon_px[:, None] - box_px[None]).max(axis=-1)
        fits = apart < 1.05  # boxes are of whole pixels
        assert fits.any(axis=0).all(), f"a box of {image.id} holds no polygon"
        sides = (polygon_px[:, 2:] - polygon_px[:, :2]).min(axis=1)
        assert (sides[~fits.any(axis=1)] < 1.05).all(), "only what is cut to a sliver has no box"
        held += int(fits.any(axis=1).sum())
    assert held == boxes.objects == 1847
    counted = boxes.catalog.sql("SELECT sum(objects)::INT AS n FROM labels").to_pylist()
    assert counted == [{"n": 1847}]


def test_an_unknown_kind_of_labels_is_refused():
    from gv_data.sources import Source

    with pytest.raises(CatalogError, match="labels are vector or coco"):
        Source.from_json({"root": "/", "labels_format": "panoptic"})


def test_a_file_without_any_object_says_that_its_images_show_none(tif, labels, tmp_path):
    tif("images/a.tif", IMAGE)
    tif("images/b.tif", IMAGE)
    found = index([tmp_path / "images"], tmp_path / "c", labels=labels(["a.tif"], []))
    assert (found.objects, found.unlabelled, found.unnamed) == (0, 2, 1)
    (image,) = found.catalog.where("vectors IS NOT NULL").images
    assert (image.id, image.objects) == ("a", 0)
    assert not found.catalog.where("id = 'a'").dataset()[0]["mask"].any()
    rows = found.catalog.sql("SELECT class, pixels FROM labels WHERE pixels > 0").to_pylist()
    assert rows == [{"class": "background", "pixels": HEIGHT * WIDTH}]


def test_when_all_images_with_objects_are_refused_the_reason_is_told(tif, labels, tmp_path):
    tif("images/a.tif", IMAGE[:, :50])
    tif("images/b.tif", IMAGE)
    with pytest.raises(CatalogError, match="holds no object on the images") as told:
        index([tmp_path / "images"], tmp_path / "c", labels=labels(["a.tif", "b.tif"]))
    assert "80 x 50 px, objects.json says 80 x 60" in str(told.value)


def test_sizes_are_whole_numbers_also_when_written_as_fractions(tif, labels, tmp_path):
    image = tif("a.tif", IMAGE)

    def listed(height: object, width: object) -> Path:
        said = {"id": 1, "file_name": "a.tif", "height": height, "width": width}
        return labels([said], ANNOTATIONS[:2])

    assert index([image], tmp_path / "c", labels=listed(60.0, 80.0)).objects == 2
    assert index([image], tmp_path / "d", labels=listed(None, 0)).objects == 2
    with pytest.raises(CatalogError, match="says 80 x 61"):
        index([image], tmp_path / "e", labels=listed(61.0, 80.0))
    for height in ("60", 60.5, True, [60], float("inf")):
        with pytest.raises(VectorError, match=r"whole numbers of pixels, those of a\.tif hold"):
            index([image], tmp_path / "e", labels=listed(height, 80))


def test_objects_of_images_follow_a_label_file_that_changed(tif, labels, tmp_path):
    tif("images/a.tif", IMAGE)
    tif("images/b.tif", IMAGE)
    path = labels(["a.tif", "b.tif"])
    catalog = index([tmp_path / "images"], tmp_path / "c", labels=path).catalog
    assert [image.objects for image in catalog.images] == [5, 0]
    labels(["a.tif", "b.tif"], [*ANNOTATIONS[:3], annotation(9, 2, 3, bbox=[1, 1, 9, 9])])
    measure_catalog(catalog)
    again = Catalog.open(tmp_path / "c")
    assert [image.objects for image in again.images] == [3, 1]
    assert again.sql("SELECT sum(objects)::INT AS n FROM labels").to_pylist() == [{"n": 4}]
