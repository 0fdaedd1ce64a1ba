"""Functions for SQL that pool statistics of images into those of all their pixels.

Each takes rows of ``statistics`` by the table's name, or an alias of it, and is an aggregate::

    SELECT split, asset, band, pooled_mean(statistics), pooled_std(statistics)
    FROM images JOIN statistics USING (id) GROUP BY ALL

A group holds rows of one asset: images and rasters beside them may have bands of one name, and to
pool both is an error. All but the percentile are plain DuckDB SQL; `SQL` can be run in any DuckDB
session. Moments are pooled about the mean of the group, never as a difference of large sums (see
`gv_data.statistics`).
"""

_MEAN = "(fsum(s.valid::DOUBLE * s.mean) / sum(s.valid)::DOUBLE)"

_PARTS = (
    "list({n: s.valid::DOUBLE, mean: s.mean, m2: s.m2, m3: s.m3, m4: s.m4}) FILTER (s.valid > 0)"
)


def _pooled(sum_of: str) -> str:
    """A sum over the images of a group; ``d`` is how far a mean lies from that of the group."""
    apart = sum_of.replace("d", f"(p.mean - {_MEAN})")
    return f"list_sum(list_transform({_PARTS}, lambda p: {apart}))"


_M2 = _pooled("p.m2 + p.n*d*d")
_M3 = _pooled("p.m3 + 3*d*p.m2 + p.n*d*d*d")
_M4 = _pooled("p.m4 + 4*d*p.m3 + 6*d*d*p.m2 + p.n*d*d*d*d")

_VARIANCE = f"({_M2} / sum(s.valid)::DOUBLE)"

_POOLED = {
    "pooled_valid(s)": "sum(s.valid)",
    "pooled_invalid(s)": "sum(s.invalid)",
    "pooled_minimum(s)": "min(s.minimum)",
    "pooled_maximum(s)": "max(s.maximum)",
    "pooled_mean(s)": _MEAN,
    "pooled_std(s)": f"sqrt({_VARIANCE})",
    "pooled_skewness(s)": f"{_M3} / sum(s.valid)::DOUBLE / nullif({_VARIANCE}, 0) ** 1.5",
    "pooled_kurtosis(s)": f"{_M4} / sum(s.valid)::DOUBLE / nullif({_VARIANCE}, 0) ** 2 - 3",
    "pooled_histogram(s)": "merged_histogram(list(s.histogram))",
    "pooled_entropy(s)": "entropy_of(merged_histogram(list(s.histogram)))",
    "pooled_percentile(s, percent)": (
        "percentile_of(merged_histogram(list(s.histogram)), percent::DOUBLE)"
    ),
}

_MIXED = (
    "error('rows of ' || min(s.asset) || ' and ' || max(s.asset) || ' are pooled together: "
    "add asset to GROUP BY, or choose WHERE asset = ''image''')"
)

MACROS = {
    "merged_histogram(histograms)": (
        "(SELECT map(list(value ORDER BY value), list(n ORDER BY value)) FROM ("
        "SELECT value, sum(n)::BIGINT AS n FROM (SELECT "
        "unnest(flatten(list_transform(histograms, lambda h: map_keys(h)))) AS value, "
        "unnest(flatten(list_transform(histograms, lambda h: map_values(h)))) AS n"
        ") GROUP BY value))"
    ),
    "entropy_of(histogram)": (
        "log2(list_sum(map_values(histogram))) - list_sum(list_transform(map_values(histogram), "
        "lambda n: n * log2(n))) / list_sum(map_values(histogram))"
    ),
    **{
        call: f"CASE WHEN min(s.asset) <> max(s.asset) THEN {_MIXED} ELSE {body} END"
        for call, body in _POOLED.items()
    },
}
"""By name and parameters; ``percentile_of`` is not SQL but registered by `gv_data.store.query`."""

SQL = "".join(
    f"CREATE MACRO {call} AS {body};\n"
    for call, body in MACROS.items()
    if "percentile_of" not in body
)
"""A script of those that are plain SQL."""
