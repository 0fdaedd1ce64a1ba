"""Rules about the labels of a view: which images have some, of which classes, and where."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from gv_data.catalog import Catalog
from gv_data.findings import Findings, counted, some
from gv_data.pictures.thumbnails import LabelFiles
from gv_data.store.stamps import stamps

RARE = 0.001
"""A class on less of the labelled ground than this share is hardly ever seen while learning."""

RARE_IMAGES = 0.01
"""The same for classes of whole images."""

_LABELLED = """
    SELECT source, image, min(id) AS id, bool_or(
        coalesce(objects, 0) > 0 OR label IS NOT NULL
        OR (mask IS NOT NULL AND coalesce(pixels, 1) > 0)
    ) AS labelled
    FROM images LEFT JOIN (SELECT id, sum(pixels) AS pixels FROM labels GROUP BY id) USING (id)
    GROUP BY source, image ORDER BY id
"""
"""Whether a file has labels; parts of one file are taken together."""


def is_labelled(view: Catalog) -> bool:
    """Whether any image of a view has labels."""
    return view.sql(f"SELECT coalesce(bool_or(labelled), false) AS any FROM ({_LABELLED})")[
        "any"
    ].to_pylist()[0]


def look_for_unlabelled(findings: Findings, view: Catalog, said: str, hint: str) -> None:
    """Images without any label should be meant so, where others have some.

    Args:
        findings: Where to note it.
        view: The images.
        said: What they are called, in the plural.
        hint: How to leave them out.
    """
    findings.apply("unlabelled-images")
    rows = view.sql(_LABELLED).to_pylist()
    bare = [row for row in rows if not row["labelled"]]
    if bare and len(bare) < len(rows):
        files = [row["image"].rpartition("/")[2] for row in bare]
        findings.warn(
            "unlabelled-images",
            f"{len(bare):,} of {len(rows):,} {said} hold no label ({some(files)}): they count as "
            "empty ground",
            hint,
            [row["id"] for row in bare],
        )


def look_for_changed_labels(findings: Findings, view: Catalog) -> None:
    """Counts of labels should be those of the files that are there."""
    findings.apply("changed-labels")
    table = view.sql(
        "SELECT DISTINCT id, bytes, modified_ns FROM labels SEMI JOIN images USING (id)"
    )
    counted_of = {
        id: (size, time) for id, size, time in zip(*table.to_pydict().values(), strict=True)
    }
    images = view.images
    files = {
        id: file
        for id, *names in zip(
            images.ids, images.named("mask"), images.named("vectors"), strict=True
        )
        if id in counted_of and (file := next(filter(None, names), None))
    }
    seen = stamps(files.values())
    changed = [
        id for id, file in files.items() if file and seen[file] not in (None, counted_of[id])
    ]
    if changed:
        said = sorted({files[id].rpartition("/")[2] for id in changed})
        findings.warn(
            "changed-labels",
            f"labels of {len(changed):,} of {counted(len(images), 'image')} were counted before "
            f"their file was written anew ({some(said)})",
            f"gv-data measure {view.path} counts them again",
            changed,
        )


def look_at_classes(findings: Findings, view: Catalog) -> None:
    """Classes should have names, and occur often enough to be learnt."""
    rows = view.sql(
        "SELECT i.source, l.number, l.class, i.mask IS NOT NULL AS masked, "
        "sum(l.pixels)::BIGINT AS pixels, sum(l.objects)::BIGINT AS objects, "
        "count(*) FILTER (l.pixels > 0) AS n "
        "FROM labels l JOIN images i USING (id) GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    labels = view.sql(
        "SELECT label, count(*) AS n FROM images WHERE label IS NOT NULL "
        "GROUP BY label ORDER BY n, label"
    ).to_pylist()
    if rows or labels:
        findings.apply("rare-classes")
    if rows:
        sources = view.sources
        if any(row["masked"] for row in rows):
            findings.apply("class-names")
        nameless = [
            r for r in rows if r["masked"] and r["number"] >= len(sources[r["source"]].classes)
        ]
        _look_for_nameless(findings, [row for row in nameless if row["pixels"]])
        _look_for_rare(findings, [row for row in rows if row["pixels"] or row not in nameless])
    few = [row for row in labels if row["n"] < RARE_IMAGES * sum(r["n"] for r in labels)]
    if few:
        findings.warn(
            "rare-classes",
            f"less than {RARE_IMAGES:.0%} of the labelled images are of "
            f"{some([f'{row["label"]} ({row["n"]:,})' for row in few])}",
            "more images of them, a sampler that weighs them, or --where without them",
            [row["label"] for row in few],
        )


def _look_for_nameless(findings: Findings, rows: list[dict[str, Any]]) -> None:
    numbers = sorted({row["number"] for row in rows})
    if numbers:
        findings.note(
            "class-names",
            f"masks hold the {counted(len(numbers), 'class', 'classes')} "
            f"{some([str(n) for n in numbers])}, which have no names",
            f'gv-data index ... --masks DIR --classes "{numbers[0]}=NAME,..."',
            [str(n) for n in numbers],
        )


def _look_for_rare(findings: Findings, rows: list[dict[str, Any]]) -> None:
    """Classes of ground; what is none of the classes of polygons counts as labelled only."""
    total = sum(row["pixels"] for row in rows)
    pixels: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for row in rows:
        if row["masked"] or row["number"]:
            pixels[row["class"]] += row["pixels"]
            objects[row["class"]] += row["objects"] or 0
            images[row["class"]] += row["n"]
    never = [name for name in pixels if not pixels[name] and not objects[name]]
    if never and total:
        findings.warn(
            "rare-classes",
            f"labels of these classes never occur: {some(never)}",
            "gv-data index ... --classes as the labels spell them, or --where with images of them",
            never,
        )
    rare = sorted(
        (name for name in pixels if name not in never and pixels[name] < RARE * total),
        key=pixels.__getitem__,
    )
    if rare:
        shares = [
            f"{name} ({pixels[name] / total:.2g}, on {counted(images[name], 'image')})"
            for name in rare
        ]
        findings.warn(
            "rare-classes",
            f"less than {RARE:.1%} of the labelled ground is of {some(shares)}",
            "a loss with class weights, a sampler that weighs them, or masks without them",
            rare,
        )


def look_outside(findings: Findings, view: Catalog, files: LabelFiles) -> None:
    """Labels that lie on no image of the catalog.

    Args:
        findings: Where to note it.
        view: Images whose label files are looked at; all images of the catalog count.
        files: The label files read so far.
    """
    images = replace(view, conditions=(), tables={}).images
    named, used = images.named("vectors"), set(view.images.named("vectors"))
    there = stamps(file for file in used if file)
    placed = np.array([crs is not None for crs in images.grids.systems])
    touched: dict[tuple[str, int], set[int]] = {}
    for rows in images.by_labels():
        file = named[rows[0]]
        rows = rows[placed[images.grids.crs[rows]]]
        if file not in used or not there[file] or not len(rows):
            continue
        if images[int(rows[0])].source.labels_format == "coco":  # they lie on the image they name
            continue
        with findings.looking():
            labels = files.of(images[int(rows[0])])
            _, numbers, _ = labels.on_images(images.grids[rows])
            touched.setdefault((file, len(labels)), set()).update(numbers.tolist())
    if touched:
        findings.apply("labels-outside")
    outside = {key: key[1] - len(on_it) for key, on_it in touched.items() if len(on_it) < key[1]}
    if outside:
        (file, count), most = max(outside.items(), key=lambda item: item[1])
        more = f"; the same in {counted(len(outside) - 1, 'more file')}" if len(outside) > 1 else ""
        findings.note(
            "labels-outside",
            f"{most:,} of {count:,} labels of {file.rpartition('/')[2]} lie on no image{more}",
            "look at both in QGIS if there should be images: gv-data index ... --append adds some",
            [file for file, _ in outside],
        )
