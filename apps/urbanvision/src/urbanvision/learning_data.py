"""What the building model learns from: a catalog's images, bare files, or synthetic towns."""

from dataclasses import dataclass
from pathlib import Path

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.indexing import index
from gv_data.splitting.blocks import blocks
from gv_data.terminal.console import Console
from urbanvision.buildings import Buildings
from urbanvision.synthetic import build_towns


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        train: View to learn from.
        val: View to validate on.
        said: What was chosen for the user.
        test: Images that neither learning nor the choice of weights sees, if there are any.
    """

    train: Catalog
    val: Catalog
    said: tuple[str, ...]
    test: Catalog | None = None


def find_data(config: Buildings, folder: Path, console: Console) -> Data:
    """The training and validation views: a catalog's, bare files' or synthetic towns'."""
    if config.data is not None:
        return _from_catalog(config, config.data)
    if config.image and config.labels:
        return _from_files(config, config.labels, folder / "catalog", console)
    towns = build_towns(folder, console)
    train, val, test = (towns.where(f"place = '{place}'") for place in ("train", "val", "test"))
    return Data(train, val, ("no --data or --image: synthetic towns",), test)


def _from_catalog(config: Buildings, path: Path) -> Data:
    catalog = Catalog.open(path)
    tables = dict(pair.split("=", 1) for pair in config.table)
    train = catalog.where(config.train_where or "split = 'train'", **tables)
    val = catalog.where(config.val_where or "split = 'val'", **tables)
    for view, option in ((train, "--train-where"), (val, "--val-where")):
        if not len(view):
            raise CatalogError(
                f"no image of {catalog.path} fits {view.conditions[-1]}\n"
                f"  try: {option} with a condition such as \"place = '...'\""
            )
    train, said = _without_empty(train, config)
    return Data(train, val, said)


def _without_empty(train: Catalog, config: Buildings) -> tuple[Catalog, tuple[str, ...]]:
    """Leave images without any label out, unless they are to be learnt from as empty ground."""
    empty = sum(image.objects == 0 for image in train.images)
    if not empty or config.empty_images == "learn" or empty == len(train):
        return train, ()
    said = f"{empty} images without a label left out (--empty-images learn takes them as empty)"
    return train.where("objects > 0"), (said,)


def _from_files(config: Buildings, labels: Path, out: Path, console: Console) -> Data:
    said: list[str] = []
    if not (out / "images.parquet").exists():
        found = index(
            config.image,
            out,
            labels=labels,
            labelled_area=config.labelled_area,
            labels_crs=config.labels_crs,
            swap_xy=config.swap_xy,
            parts=blocks,
            track=lambda found, total: console.track(found, "indexing", total=total, unit="images"),
        )
        for path, reason in found.refused:
            console.warn("refused", f"{path.name} left out: {reason}")
        said.append(f"labels: {found.labels_said}")
    catalog = Catalog.open(out)
    train, val = catalog.where("split = 'train'"), catalog.where("split = 'val'")
    train, left_out = _without_empty(train, config)
    share = ground_m2(val) / (ground_m2(train) + ground_m2(val))
    said.append(f"split into blocks: {share:.0%} of the ground for validation, 10 m apart")
    return Data(train, val, (*said, *left_out))


def ground_m2(view: Catalog) -> float:
    """Ground area of the images of a view; shared ground counts as often as it is there."""
    grids = view.images.grids
    return float((grids.shapes_hw.prod(axis=1) * grids.gsd_m**2).sum())


def amount(view: Catalog) -> str:
    """How much there is in a view, in words."""
    objects = sum(image.objects or 0 for image in view.images)
    return f"{len(view)} images, {ground_m2(view) / 1e6:.3g} km2, {objects:,} buildings"
