"""Outlines in degrees where longitude jumps: at the antimeridian and around the poles.

Outlines are cut at 180 degrees (RFC 7946, section 3.1.9) and reach up to a pole that they contain.
Boxes around what was cut have their west above their east (section 5.2). The cut lies where the
side of an image crosses the line, to the last digit: the package ``antimeridian`` (0.4.9) puts it
on a great circle and rounds it to 1e-7 degrees, a centimetre; tiles may be some metres wide.
"""

from collections.abc import Callable

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

type Outline = shapely.Polygon | shapely.MultiPolygon
"""Of an image, in degrees."""

_STEP_DEG = 2.0
"""Longitude between neighbouring points: near a pole a straight side turns through many degrees."""

_FAST_DEG = 90.0
"""More between two points of an image is a jump of longitude, or a side that passes a pole."""

_HALVINGS = 60
"""Enough for the last digit of a side, and for one that passes a pole by next to nothing."""

_POINTS_MAX = 10_000
"""Some hundred are usual: a projection that is torn to pieces ends here."""

_ON_THE_LINE_DEG = 1e-9
"""Points nearer to the antimeridian than a tenth of a millimetre lie on it."""

_LEAST_GAP_DEG = 1.0
"""Narrower gaps between longitudes are forgotten: no box is left open at one of them."""


def crosses(
    lon: Float[np.ndarray, "*n m"], lat: Float[np.ndarray, "*n m"]
) -> Bool[np.ndarray, " *n"]:
    """Which rings of points leave the plain range of degrees, or turn too fast in it.

    Args:
        lon: Longitudes in degrees, the last point not repeating the first.
        lat: Latitudes.
    """
    fast = np.abs(np.diff(lon, axis=-1, append=lon[..., :1])) > _FAST_DEG
    beyond = (np.abs(lon) > 180) | (np.abs(lat) > 90)
    return (fast | beyond).any(axis=-1)


def traced(
    along: Callable[[Float[np.ndarray, " n"]], tuple[np.ndarray, np.ndarray]],
    stops: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Follow a closed curve closely enough to know which way around the Earth it goes.

    Args:
        along: Longitudes and latitudes at some places of the curve.
        stops: Places to begin with, in order; the last is the first again.

    Returns:
        Longitudes, running on beyond 180 degrees, and latitudes. Where the curve crosses the
        antimeridian there is a point.
    """
    for _ in range(_HALVINGS):
        lon, lat = along(stops)
        x = unwrapped(lon)
        wide = np.flatnonzero(np.abs(np.diff(x)) > _STEP_DEG)
        if not len(wide) or len(stops) > _POINTS_MAX:
            break
        stops = np.insert(stops, wide + 1, (stops[wide] + stops[wide + 1]) / 2)
    x = _snapped(x)
    at, line = _crossings(x)
    if not len(at):
        return x, lat
    low, high, east = stops[at], stops[at + 1], x[at] > line
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        before = ((along(middle)[0] - line) % 360 < 180) == east
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    return np.insert(x, at + 1, line), np.insert(lat, at + 1, along(high)[1])


def cut(lon: Float[np.ndarray, " n"], lat: Float[np.ndarray, " n"]) -> Outline:
    """An outline from a ring that may cross the antimeridian or run around a pole.

    Args:
        lon: Longitudes in degrees; the last point repeats the first. From one point to the next
            the ring takes the shorter way.
        lat: Latitudes; what lies beyond a pole is cut off.

    Returns:
        The outline within [-180, 180] and [-90, 90].
    """
    x, y = _snapped(unwrapped(lon)), np.clip(lat, -90, 90)
    at, line = _crossings(x)
    share = (line - x[at]) / (x[at + 1] - x[at])
    y = np.insert(y, at + 1, y[at] + share * (y[at + 1] - y[at]))
    x = np.insert(x, at + 1, line)
    if abs(x[-1] - x[0]) > 180:  # around a pole: from the antimeridian to the antimeridian
        turn = 360 if x[-1] > x[0] else -360
        start = int(np.abs(x - 180 - 360 * np.rint((x - 180) / 360)).argmin())
        x = np.r_[x[start:-1], x[: start + 1] + turn]
        pole = np.copysign(90, y.mean())
        y = np.r_[y[start:-1], y[: start + 1], pole, pole]
        x = np.r_[x, x[-1], x[0]]
    # rings of few points beside a pole may cross themselves
    whole = shapely.make_valid(shapely.Polygon(np.stack([x, y], axis=1)))
    sheets = np.arange(np.floor((x.min() + 180) / 360), np.ceil((x.max() + 180) / 360))
    windows = shapely.box(360 * sheets - 180, -90, 360 * sheets + 180, 90)
    parts, sheet = shapely.get_parts(shapely.intersection(whole, windows), return_index=True)
    areal = shapely.get_dimensions(parts) == 2
    return shapely.union_all(shifted(parts[areal], -360 * sheets[sheet[areal]]))


def polygons(rings: Float[np.ndarray, "n m 2"]) -> np.ndarray:
    """Outlines from rings of as many points each, cut where they cross the antimeridian.

    Args:
        rings: Longitude and latitude; the last point does not repeat the first.
    """
    outlines = shapely.polygons(rings)
    for n in np.flatnonzero(crosses(rings[..., 0], rings[..., 1])):
        outlines[n] = cut(*np.concatenate([rings[n], rings[n, :1]]).T)
    return outlines


def unwrapped(lon: Float[np.ndarray, "*n m"]) -> Float[np.ndarray, "*n m"]:
    """Longitudes along the last axis that run on where they jump, moved by whole turns."""
    turns = np.rint(np.diff(lon, axis=-1, prepend=lon[..., :1]) / 360)
    return lon - 360 * np.cumsum(turns, axis=-1)


def shifted(shapes: np.ndarray, degrees: Float[np.ndarray, " k"]) -> np.ndarray:
    """Geometries moved along their parallels.

    Args:
        shapes: Geometries in degrees.
        degrees: How far east each goes.
    """
    moving = np.flatnonzero(degrees)
    shapes = shapes.copy()
    xy, owner = shapely.get_coordinates(shapes[moving], return_index=True)
    xy[:, 0] += degrees[moving][owner]
    shapes[moving] = shapely.set_coordinates(shapes[moving], xy)
    return shapes


def rejoined(outlines: np.ndarray) -> np.ndarray:
    """Outlines that were cut at the antimeridian put together again, reaching beyond 180 degrees.

    Args:
        outlines: Outlines in degrees, or None; those that were not cut come back as they are.
    """
    torn = np.flatnonzero(_cut_through(outlines))
    joined = outlines.copy()
    for n in torn:
        parts = shapely.get_parts(outlines[n])
        sides = shapely.bounds(parts)
        western = (sides[:, 0] <= -180) & (sides[:, 2] < 180)
        joined[n] = shapely.union_all(shifted(parts, np.where(western, 360.0, 0.0)))
    return joined


def is_cut(outlines: np.ndarray) -> bool:
    """Whether any outline was cut at the antimeridian."""
    return bool(_cut_through(outlines).any())


def boxes(outlines: np.ndarray) -> Float[np.ndarray, "n 4"]:
    """The smallest box around each outline, as `box_around`; NaN around None."""
    found = shapely.bounds(outlines)
    for n in np.flatnonzero(_cut_through(outlines)):
        found[n] = box_around(outlines[n : n + 1])
    return found


def box_around(outlines: np.ndarray) -> tuple[float, float, float, float]:
    """The smallest box around outlines.

    Args:
        outlines: Outlines in degrees, one at least.

    Returns:
        West, south, east, north; west lies above east where the box crosses the antimeridian.
    """
    west, south, east, north = shapely.bounds(shapely.get_parts(outlines)).T
    first, last = shortest(merged(np.stack([west, east], axis=1)))
    return first, float(south.min()), last, float(north.max())


def merged(spans: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "k 2"]:
    """Spans of longitude, west and east of each, as the few with wide gaps between them."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1])
    gaps = np.flatnonzero(spans[1:, 0] - reach[:-1] > _LEAST_GAP_DEG)
    west, east = np.r_[spans[:1, 0], spans[gaps + 1, 0]], np.r_[reach[gaps], reach[-1:]]
    return np.stack([west, east], axis=1)


def shortest(spans: Float[np.ndarray, "k 2"]) -> tuple[float, float]:
    """West and east of the fewest degrees that hold some spans.

    Args:
        spans: As `merged` gives them, one at least.

    Returns:
        The two; west lies above east where they hold the antimeridian.
    """
    gaps = np.r_[spans[0, 0] + 360 - spans[-1, 1], spans[1:, 0] - spans[:-1, 1]]
    widest = int(gaps.argmax())  # the first of equal ones: that at the antimeridian
    return float(spans[widest, 0]), float(spans[widest - 1, 1])


def _cut_through(outlines: np.ndarray) -> Bool[np.ndarray, " n"]:
    """Which outlines have parts on both sides of the antimeridian."""
    west, _, east, _ = shapely.bounds(outlines).T
    both = (west <= -180) & (east >= 180)
    return both & (shapely.get_num_geometries(outlines) > 1)


def _snapped(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Longitudes, those beside the antimeridian moved onto it."""
    line = 180 + 360 * np.rint((x - 180) / 360)
    return np.where(np.abs(x - line) < _ON_THE_LINE_DEG, line, x)


def _crossings(
    x: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Points after which a curve crosses the antimeridian, and its longitude there."""
    low, high = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    line = 180 + 360 * (np.floor((low - 180) / 360) + 1)
    at = np.flatnonzero(line < high)
    return at, line[at]
