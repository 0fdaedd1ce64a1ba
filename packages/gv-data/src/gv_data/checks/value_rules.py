"""Rules about the values of images among each other, as their statistics tell them.

Images of the same bands are compared with the middle one of them, since a mean over all would be
pulled towards those of another scale. No image is opened.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Shaped

from gv_data.catalog import Catalog
from gv_data.checks.values import (
    COLOURS,
    CONTRASTS_MIN,
    FAR_STD,
    Values,
    better_order,
    compare,
    factor,
)
from gv_data.findings import Findings, counted, some

IMAGES_MIN = 3
"""Of fewer images nobody can say what most are like."""

BANDS_SHOWN = 3
"""Bands whose values are said."""

ORDER_BANDS_MIN = 4
"""Places differ in red, green and blue as much as swapped bands do; near infrared stands out."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Statistics of images that have the same bands.

    Attributes:
        bands: Their names.
        ids: Of the images.
        dtypes: Types on disk.
        sources: Which call to index each came in.
        groups: The same with the place: images that probably were made in one way.
        valid: Number of pixels with data.
        mean: Mean of each band.
        std: Standard deviation of each.
        constant: Whether a band has one value everywhere.
    """

    bands: tuple[str, ...]
    ids: Shaped[np.ndarray, " n"]
    dtypes: Shaped[np.ndarray, " n"]
    sources: Shaped[np.ndarray, " n"]
    groups: Shaped[np.ndarray, " n"]
    valid: Shaped[np.ndarray, " n"]
    mean: Float[np.ndarray, "n c"]
    std: Float[np.ndarray, "n c"]
    constant: Bool[np.ndarray, "n c"]

    def where(self, chosen: Bool[np.ndarray, " n"]) -> "Measured":
        """Some of the images."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "bands"}
        return Measured(self.bands, **{name: column[chosen] for name, column in columns.items()})

    def values(self, row: int | None = None) -> Values:
        """Of one image, or of the middle one, whose spread includes how means scatter."""
        if row is not None:
            mean, std = self.mean[row], self.std[row]
        else:
            mean = np.percentile(self.mean, 50, axis=0, method="inverted_cdf")
            scatter = 1.4826 * np.median(np.abs(self.mean - mean), axis=0)
            std = np.hypot(np.percentile(self.std, 50, axis=0, method="inverted_cdf"), scatter)
        return Values(mean, std, mean - 2 * std, mean + 2 * std)


def look_for_unmeasured(findings: Findings, view: Catalog) -> None:
    """Every image should be measured, what lies beside it too, and its labels counted."""
    findings.apply("unmeasured-images")
    for text, query in (
        *(
            (
                "{} are not measured"
                if asset == "image"
                else f"the {asset} of {{}} is not measured",
                f'SELECT id FROM (FROM images WHERE "{asset}" IS NOT NULL) '
                f"ANTI JOIN (FROM statistics WHERE asset = '{asset}') USING (id)",
            )
            for asset in ("image", *view.assets)
        ),
        (
            "the labels of {} are not counted",
            "SELECT id FROM images ANTI JOIN labels USING (id) "
            "WHERE mask IS NOT NULL OR vectors IS NOT NULL",
        ),
    ):
        ids = view.sql(f"{query} ORDER BY id")["id"].to_pylist()
        if ids:
            findings.warn(
                "unmeasured-images",
                f"{text.format(counted(len(ids), 'image'))} ({some(ids)}), so that nothing is said "
                "of them here",
                f"gv-data measure {view.path}",
                ids,
            )


def look_at_values(findings: Findings, view: Catalog) -> None:
    """Values should have one scale and one order of bands, and should vary."""
    for rule in ("empty-images", "constant-bands", "values", "band-order"):
        findings.apply(rule)
    empty: list[str] = []
    for measured in _measured(view):
        flat = (measured.valid == 0) | measured.constant.all(axis=1)
        empty += measured.ids[flat].tolist()
        rest = measured.where(~flat)
        _look_for_constants(findings, rest, view)
        ordered = rest.where(~_compare_orders(findings, rest))
        _compare_scales(findings, ordered, view)
    if empty:
        findings.warn(
            "empty-images",
            f"{counted(len(empty), 'image')} hold nothing: all nodata, or one colour everywhere "
            f"({some(empty)})",
            f"gv-data remove {view.path} --where {_one(empty[0])}, and so on",
            empty,
        )


def _measured(view: Catalog) -> Iterator[Measured]:
    table = view.sql(
        "SELECT id, i.dtype, i.source, concat_ws(' ', i.source, i.place) AS place, i.bands, "
        "s.valid, s.mean, s.m2, s.minimum = s.maximum AS constant "
        "FROM statistics s JOIN images i USING (id) "
        "WHERE s.asset = 'image' ORDER BY id, s.position"
    )
    kinds, kind = np.unique(
        np.array(["\0".join(bands) for bands in table["bands"].to_pylist()]), return_inverse=True
    )
    columns = {
        name: table[name].to_numpy(zero_copy_only=False)
        for name in ("id", "dtype", "source", "place", "valid", "mean", "m2", "constant")
    }
    for number, name in enumerate(kinds.tolist()):
        bands = tuple(name.split("\0"))
        rows = {key: column[kind == number] for key, column in columns.items()}
        valid = rows["valid"].reshape(-1, len(bands))[:, 0]
        shape = (len(valid), len(bands))
        yield Measured(
            bands=bands,
            ids=rows["id"][:: len(bands)],
            dtypes=rows["dtype"][:: len(bands)],
            sources=rows["source"][:: len(bands)],
            groups=rows["place"][:: len(bands)],
            valid=valid,
            mean=rows["mean"].reshape(shape),
            std=np.sqrt(rows["m2"].reshape(shape) / np.maximum(valid, 1)[:, None]),
            constant=np.equal(rows["constant"], True).reshape(shape),
        )


def _look_for_constants(findings: Findings, rest: Measured, view: Catalog) -> None:
    """Bands that say nothing, while others do."""
    for n, band in enumerate(rest.bands):
        ids = rest.ids[rest.constant[:, n]].tolist()
        if len(ids) > 1 and len(ids) == len(rest.ids) and len(set(rest.mean[:, n])) == 1:
            findings.fail(
                "constant-bands",
                f"band {band} has one value everywhere in all {len(ids):,} images: an alpha or "
                "fill band that is not marked as such?",
                "gdal_translate -b ... with the bands that show something",
                ids,
            )
        elif ids:
            findings.warn(
                "constant-bands",
                f"band {band} of {len(ids):,} of {counted(len(rest.ids), 'image')} has one value "
                f"everywhere ({some(ids)})",
                f"look at them: gv-data show {view.path} --where {_one(ids[0])}",
                ids,
            )


def _compare_scales(findings: Findings, rest: Measured, view: Catalog) -> None:
    """Images whose values are of another size than those of most."""
    known = bool(COLOURS & set(rest.bands))
    # bands without a name may be anything: those of one call to index are alike, if any are
    for name in [None] if known else np.unique(rest.sources):
        some_of = rest if name is None else rest.where(rest.sources == name)
        if len(some_of.ids) >= IMAGES_MIN:
            _compare_alike(findings, some_of, view, known=known)


def _compare_alike(findings: Findings, rest: Measured, view: Catalog, *, known: bool) -> None:
    usual = rest.values()
    contrast = np.log(np.maximum(rest.std, 1e-12) / np.maximum(usual.std, 1e-12))
    other = np.abs(np.median(contrast, axis=1)) >= np.log(CONTRASTS_MIN)
    other &= (rest.mean >= 0).all(axis=1) & (usual.mean >= 0).all()
    factors = {
        n: found for n in np.flatnonzero(other).tolist() if (found := factor(usual, rest.values(n)))
    }
    for by in sorted(set(factors.values())):
        rows = [row for row, found in factors.items() if found == by]
        findings.fail(
            "values",
            f"{counted(len(rows), 'image')} of {len(rest.ids):,} have values of another scale than "
            f"most: {_said(rest, rows, usual, view)}; x {by:.4g} they would fit",
            f"gv-data index those again with --scale {by:.4g}",
            rest.ids[rows].tolist(),
        )
    far = np.median(contrast, axis=1) >= np.log(CONTRASTS_MIN)
    far |= (_off(rest, usual) > FAR_STD).any(axis=1)
    far[list(factors)] = False
    if known and far.any():
        rows = np.flatnonzero(far).tolist()
        findings.warn(
            "values",
            f"{counted(len(rows), 'image')} of {len(rest.ids):,} have values far from those of "
            f"most: {_said(rest, rows, usual, view)}",
            f"look at them: gv-data show {view.path} --where {_one(rest.ids[rows[0]])}",
            rest.ids[rows].tolist(),
        )


def _off(rest: Measured, usual: Values) -> Float[np.ndarray, "n c"]:
    """How far means lie from the usual one, in standard deviations; constants are told as such."""
    apart = np.abs(rest.mean - usual.mean)
    varying = ~rest.constant & (usual.std > 0)
    return np.divide(apart, usual.std, out=np.zeros_like(apart), where=varying)


def _said(rest: Measured, rows: Sequence[int], usual: Values, view: Catalog) -> str:
    """Both ranges for one example, in the bands that differ most; types on disk if they differ."""
    ids = rest.ids[rows].tolist()
    off = _off(rest, usual)
    middle = rest.ids[off.max(axis=1).argmin()]
    bands = sorted(np.argsort(-off[rows[0]], kind="stable")[:BANDS_SHOWN].tolist())
    most, here = (
        Values.of_statistics(view.where(f"id = {_text(id)}").statistics).of_bands(bands)
        for id in (middle, ids[0])
    )
    named = [rest.bands[n] for n in bands]
    ranges = compare(named, most, here, first="most", second=ids[0])
    common = Counter(rest.dtypes.tolist()).most_common(1)[0][0]
    kinds = sorted(set(rest.dtypes[rows].tolist()) - {common})
    types = f"; stored as {', '.join(kinds)}, most as {common}" if kinds else ""
    return f"{some(ids)}: {ranges}{types}"


def _text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _one(id: str) -> str:
    """A condition for a shell that names an image."""
    return f'"id = {_text(id)}"'


def _compare_orders(findings: Findings, rest: Measured) -> Bool[np.ndarray, " n"]:
    """Places whose bands would fit the others far better in another order.

    Returns:
        Which images lie there.
    """
    right = np.ones(len(rest.ids), bool)
    if len(rest.bands) < ORDER_BANDS_MIN:
        return ~right
    names, counts = np.unique(rest.groups, return_counts=True)
    for name in names[np.argsort(counts, kind="stable")]:  # most are right
        here = rest.groups == name
        others = right & ~here
        if not others.any():
            break
        usual, ours = (rest.where(chosen).values() for chosen in (others, here))
        found = better_order(usual, ours, range(len(rest.bands)))
        if found is not None:
            right &= ~here
            best, then, now = found
            ids = rest.ids[here].tolist()
            named = _renamed(rest.bands, best)
            findings.warn(
                "band-order",
                f"bands of {counted(len(ids), 'image')} ({some(ids)}) fit the others far better in "
                f"another order: {', '.join(rest.bands)} look like {', '.join(named)} (misfit "
                f"{then:.2f}, not {now:.2f})",
                f"gv-data index those again with --bands {','.join(named)}, if that is so",
                ids,
            )
    return ~right


def _renamed(bands: tuple[str, ...], best: tuple[int, ...]) -> list[str]:
    """What bands should be called: the one at ``best[n]`` looks like ``bands[n]``."""
    names = list(bands)
    for name, position in zip(bands, best, strict=True):
        names[position] = name
    return names
