"""The learning rate against its closed form."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gv_train.schedules import warm_cosine


@given(st.floats(0.01, 0.5))
def test_is_continuous_where_the_warm_up_ends(warmup: float) -> None:
    before, after = warm_cosine(warmup - 1e-9, warmup), warm_cosine(warmup + 1e-9, warmup)
    assert math.isclose(before, after, abs_tol=1e-4)


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_stays_between_zero_and_the_peak(progress: float, warmup: float) -> None:
    assert 0 <= warm_cosine(progress, warmup) <= 1


@given(st.floats(0.2, 1), st.floats(0.2, 1))
def test_only_falls_after_the_warm_up(first: float, second: float) -> None:
    early, late = sorted((first, second))
    assert warm_cosine(early, 0.2) >= warm_cosine(late, 0.2)


def test_starts_above_zero_and_ends_at_zero() -> None:
    assert warm_cosine(0, 0.1) > 0
    assert warm_cosine(1, 0.1) == 0
    assert warm_cosine(2, 0.1) == 0
