"""Rules about training and validation images that their catalog alone can answer."""

import numpy as np

from gv_data.catalog import Catalog
from gv_data.checks import label_rules
from gv_data.checks.values import Values, are_far, can_be, compare, factor
from gv_data.errors import CatalogError
from gv_data.findings import Findings, counted, some
from gv_data.splitting import shared_ground
from gv_data.splitting.grounds import Grounds

GSD_WARNING = 2.05
"""Times coarser than wanted. Twice is usual: zooms of tiles are 2 apart."""

GSD_FAILURE = 4.0
"""Beyond this nothing looks as it should."""

SHARED_MAX = 0.01
"""Share of the validation ground that may be training ground: so little changes no figure."""

_APART = "\"place = '...'\""


def look_for_labels(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Both parts need labels, and training images without any should be meant so."""
    for view, rule, part, option in (
        (train, "training-labels", "training", "--train-where"),
        (val, "validation-labels", "validation", "--val-where"),
    ):
        findings.apply(rule)
        if not label_rules.is_labelled(view):
            findings.fail(
                rule,
                f"the {part} part has no labels: none on {counted(len(view), 'image')} "
                f"({view.said})",
                f"{option} with images that have labels, or gv-data index ... --labels FILE",
            )
    label_rules.look_for_unlabelled(
        findings, train, "training images", '--train-where "objects > 0" leaves them out'
    )


def compare_values(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Values of both parts must have one scale, and their bands one meaning."""
    findings.apply("bands")
    try:
        names, others = train.bands, val.bands
        trained, here = (Values.of_statistics(view.statistics) for view in (train, val))
    except CatalogError as error:
        text, _, hint = str(error).partition("\n")
        findings.fail("bands", text, hint.strip().removeprefix("try: "))
        return
    flat = [name for name, std in zip(names, trained.std, strict=True) if not std > 0]
    if flat:
        findings.fail(
            "values",
            f"band {', '.join(flat)} of the training images has one value everywhere: an alpha or "
            "fill band that is not marked as such?",
            "gdal_translate -b ... with the bands that show something",
        )
        return
    if not can_be(others, names):
        findings.fail(
            "bands",
            f"training images have {', '.join(names)}, validation images {', '.join(others)}",
            "images of one kind in both parts",
        )
        return
    findings.apply("values")
    needed = factor(trained, here)
    if needed or are_far(trained, here):
        said = f" (x {needed:.3g} they would fit)" if needed else ""
        findings.warn(
            "values",
            f"values of validation images have another scale{said}: "
            + compare(names, trained, here, first="training", second="validation"),
            f"bring both to one scale: gdal_translate -a_scale {needed or 1:.3g} IN OUT"
            if needed
            else "look at one image of each part: are they of one kind?",
        )


def compare_gsds(findings: Findings, train: Catalog, val: Catalog, gsd_m: float) -> None:
    """No image should be much coarser than what is trained at; finer ones are read coarser."""
    findings.apply("gsd")
    rows = [
        row
        for view in (train, val)
        for row in view.sql("SELECT id, gsd_m FROM images WHERE gsd_m > 0").to_pylist()
    ]
    gsds: dict[str, float] = {row["id"]: row["gsd_m"] for row in rows}
    coarser = {name: gsd / gsd_m for name, gsd in gsds.items()}
    finer = {name: gsd_m / gsd for name, gsd in gsds.items()}
    for tell, times, least, most in (
        (findings.fail, coarser, GSD_FAILURE, np.inf),
        (findings.warn, coarser, GSD_WARNING, GSD_FAILURE),
        (findings.warn, finer, GSD_FAILURE, np.inf),
    ):
        off = sorted((name for name in times if least < times[name] <= most), key=times.__getitem__)
        if off:
            worst = off[-1]
            kept = "<" if times is coarser else ">"
            more = f", and {len(off) - 1:,} more are off" if len(off) > 1 else ""
            tell(
                "gsd",
                f"{worst} has {gsds[worst]:.3g} m a pixel on the ground, training is at "
                f"{gsd_m:.3g} m: {times[worst]:.1f} x{more}",
                f'--gsd-m nearer to {gsds[worst]:.2g}, or --train-where "gsd_m {kept} ..."',
                off,
            )


def measure_shared_ground(findings: Findings, train: Catalog, val: Catalog) -> None:
    """Ground seen in training says nothing in validation."""
    findings.apply("shared-ground")
    grounds = Grounds.of(val, train)
    overlapping = grounds.overlapping()
    ids = [*val.images.ids, *train.images.ids]
    of_val = np.arange(len(ids)) < len(val)
    parts = np.where(of_val, 0, 1)
    for shared in shared_ground.compare(grounds, overlapping, ids, parts, ("val", "train")):
        asked = np.isin(np.arange(len(grounds)), grounds.ground[of_val])
        share = shared.area_m2 / grounds.area_m2(asked, overlapping)
        if share > SHARED_MAX:
            pairs = [" + ".join(pair) for pair in shared.examples]
            seen_again, seen = shared.images
            findings.fail(
                "shared-ground",
                f"{shared.area_m2:,.0f} m2 of the validation ground ({share:.0%}) are training "
                f"ground too, on {seen_again:,} and {seen:,} images: {some(pairs)}",
                f"split by place: --train-where {_APART} --val-where {_APART}; one image: --image "
                "cuts it into blocks",
                pairs,
            )
