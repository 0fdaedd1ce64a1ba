"""What a model is, was trained on and wants: the card that travels with its weights.

A card is plain data, written to and read from JSON. Reading trusts nothing: unknown fields, wrong
types, values out of range and constructors that are not in the table are refused.
"""

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, Self, get_args

from gv_models.errors import PackageError
from gv_models.networks import Encoder, UnetArguments

Constructor = Literal["unet"]
"""Functions of gv_models that a card may name."""

REFUSE_RATIO = 4.0
"""How far an image's GSD may lie from the card's, either way."""


@dataclass(frozen=True)
class Band:
    """One band of the input; all values in the physical units of the images it was trained on."""

    name: str
    wavelength_nm: float | None
    """Centre, or None for what is not optical."""
    mean: float
    """Subtracted before the network."""
    std: float
    """Divides what is left."""
    p01: float
    """1st percentile of the training values."""
    p99: float
    """99th percentile of the training values."""

    def __post_init__(self) -> None:
        _text(self.name, "a band's name")
        for what in ("mean", "std", "p01", "p99"):
            _number(getattr(self, what), f"{what} of band {self.name}")
        if self.wavelength_nm is not None:
            _number(self.wavelength_nm, f"wavelength_nm of band {self.name}", above=0)
        _number(self.std, f"std of band {self.name}", above=0)
        if self.p01 > self.p99:
            raise PackageError(f"band {self.name}: p01 {self.p01} lies above p99 {self.p99}")


@dataclass(frozen=True)
class Card:
    """All that inference needs to know about a network, and where it comes from.

    Raises:
        PackageError: If a value is out of range.
    """

    constructor: Constructor
    """Which function builds the network."""
    arguments: UnetArguments
    """What it is called with, apart from bands and heads: ``network.arguments``."""
    bands: tuple[Band, ...]
    """In the order of the image's channels."""
    heads: Mapping[str, tuple[str, ...]]
    """Names of the classes of each head; every class is a probability of its own."""
    gsd_m: float
    """Metres on the ground a pixel had in training."""
    window_px: int
    """Side of the windows to predict."""
    overlap_px: int
    """How far neighbouring windows overlap."""
    licence: str
    """Of the weights, as an SPDX identifier."""
    threshold: float = 0.5
    """Probability of the first head from which a pixel is an object."""
    pretrained: str | None = None
    """What the encoder was trained on before, None if from scratch."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north of the training data in degrees."""
    run: str = ""
    """Name of the training run."""
    commit: str = ""
    """Of the code that trained it."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """On validation data; None where undefined, as NaN becomes."""
    versions: Mapping[str, str] = field(default_factory=lambda: installed_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """ISO 8601 with time zone."""

    def __post_init__(self) -> None:
        if self.constructor not in get_args(Constructor):
            raise PackageError(
                f"no constructor {self.constructor!r}: this version knows "
                f"{', '.join(get_args(Constructor))}"
            )
        _unet_arguments(self.arguments)
        if not self.bands or len({band.name for band in self.bands}) < len(self.bands):
            raise PackageError(f"bands need one name each: {[band.name for band in self.bands]}")
        if not self.heads:
            raise PackageError("a card needs at least one head")
        for head, classes in self.heads.items():
            if not head.isidentifier() or not classes:
                raise PackageError(f"head {head!r} needs a name (letters, digits, _) and classes")
            for name in classes:
                _text(name, f"a class of head {head}")
        _number(self.gsd_m, "gsd_m", above=0)
        _number(self.threshold, "threshold", above=0)
        if self.threshold >= 1:
            raise PackageError(f"threshold must lie between 0 and 1, got {self.threshold}")
        _whole(self.window_px, "window_px", 1, 65_536)
        _whole(self.overlap_px, "overlap_px", 0, self.window_px - 1)
        for what in ("licence", "created"):
            _text(getattr(self, what), what)
        for what, absent in (("run", ""), ("commit", ""), ("pretrained", None)):
            if getattr(self, what) != absent:
                _text(getattr(self, what), what)
        if self.bbox is not None:
            for degrees in self.bbox:
                _number(degrees, "bbox")
        defined = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.metrics.items()
        }
        object.__setattr__(self, "metrics", defined)
        for name, value in defined.items():
            if value is not None:
                _number(value, f"metric {name}")
        for name, text in self.versions.items():
            _text(text, f"version of {name}")

    def to_json(self) -> dict[str, object]:
        """As JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "arguments": {
                "encoder": self.arguments["encoder"],
                "decoder_channels": list(self.arguments["decoder_channels"]),
            },
            "bands": [vars(band) for band in self.bands],
            "heads": {head: list(classes) for head, classes in self.heads.items()},
            "bbox": None if self.bbox is None else list(self.bbox),
            "metrics": dict(self.metrics),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            data: Parsed JSON from anywhere.

        Raises:
            PackageError: If a field is unknown, missing, of another type or out of range.
        """
        card = _exactly(data, [f.name for f in fields(cls)], "the card")
        bands = [
            _exactly(band, [f.name for f in fields(Band)], "a band")
            for band in _list(card["bands"], "bands")
        ]
        arguments = _exactly(card["arguments"], ["encoder", "decoder_channels"], "arguments")
        heads = _mapping(card["heads"], "heads")
        bbox = card["bbox"]
        for what in ("metrics", "versions"):
            _mapping(card[what], what)
        read: dict[str, Any] = {
            "arguments": arguments
            | {"decoder_channels": tuple(_list(arguments["decoder_channels"], "decoder_channels"))},
            "bands": tuple(Band(**band) for band in bands),
            "heads": {k: tuple(_list(v, f"head {k}")) for k, v in heads.items()},
            "bbox": None if bbox is None else tuple(_list(bbox, "bbox", length=4)),
        }
        return cls(**(card | read))


def installed_versions() -> dict[str, str]:
    """Versions of what decides the numbers a network gives."""
    packages = ("gv-models", "torch", "timm", "segmentation-models-pytorch")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _unet_arguments(arguments: Mapping[str, object]) -> None:
    if arguments["encoder"] not in get_args(Encoder):
        raise PackageError(
            f"no encoder {arguments['encoder']!r}: this version knows "
            f"{', '.join(get_args(Encoder))}"
        )
    channels = arguments["decoder_channels"]
    if not isinstance(channels, tuple) or len(channels) != 5:
        raise PackageError(f"decoder_channels must be five numbers, got {channels!r}")
    for width in channels:
        _whole(width, "decoder_channels", 1, 4096)


def _exactly(data: object, names: list[str], what: str) -> dict[str, Any]:
    given = _mapping(data, what)
    if odd := sorted(set(given) ^ set(names)):
        word = "unknown" if set(odd) <= set(given) else "missing or unknown"
        raise PackageError(f"{what}: {word} fields {', '.join(odd)}")
    return given


def _mapping(data: object, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise PackageError(f"{what} must be an object, got {data!r:.60}")
    return data


def _list(data: object, what: str, *, length: int | None = None) -> list:
    if not isinstance(data, list) or len(data) > 10_000 or length not in (None, len(data)):
        raise PackageError(f"{what} must be a list, got {data!r:.60}")
    return data


def _text(value: object, what: str) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise PackageError(f"{what} must be one line of text, got {value!r:.60}")


def _number(value: object, what: str, *, above: float = -math.inf) -> None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or value <= above:
        limit = "" if above == -math.inf else f" above {above:g}"
        raise PackageError(f"{what} must be a number{limit}, got {value!r:.60}")


def _whole(value: object, what: str, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PackageError(f"{what} must be a whole number in {low}..{high}, got {value!r:.60}")
