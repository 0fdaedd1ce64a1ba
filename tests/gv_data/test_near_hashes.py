"""Near hashes are those that comparing all with all finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gv_data.checks import near_hashes as module
from gv_data.checks.hashes import TURNS, turned
from gv_data.checks.near_hashes import near_hashes


def brute_force(hashes: np.ndarray, distance: int, turns=TURNS[:1]) -> list[tuple[int, int, int]]:
    others = [turned(hashes, turn) for turn in turns]
    return [
        (a, b, apart)
        for a in range(len(hashes))
        for b in range(a + 1, len(hashes))
        if (apart := min(int(hashes[a] ^ other[b]).bit_count() for other in others)) <= distance
    ]


def found(hashes: np.ndarray, distance: int, turns=TURNS[:1]) -> list[tuple[int, int, int]]:
    near = near_hashes(hashes, distance, turns)
    return list(zip(near.first.tolist(), near.second.tolist(), near.distance.tolist(), strict=True))


@st.composite
def families(draw: st.DrawFn) -> np.ndarray:
    """Hashes that are few bits from a few others, so that many pairs are near the limit."""
    parents = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    masks = st.lists(st.integers(0, 63), max_size=8)
    children = draw(st.lists(st.tuples(st.sampled_from(parents), masks), max_size=20))
    made = [parent ^ sum({1 << bit for bit in bits}) for parent, bits in children]
    return np.array([*parents, *made], np.uint64)


@settings(deadline=None, max_examples=60)
@given(families(), st.integers(0, 9))
def test_pairs_are_those_of_brute_force(hashes, distance):
    assert found(hashes, distance) == brute_force(hashes, distance)


@settings(deadline=None, max_examples=15)
@given(families(), st.integers(0, 6), st.data())
def test_turned_pairs_are_those_of_brute_force(hashes, distance, data):
    how = data.draw(st.lists(st.sampled_from(TURNS), min_size=len(hashes), max_size=len(hashes)))
    laid = np.array([turned(hashes[n : n + 1], turn)[0] for n, turn in enumerate(how)], np.uint64)
    assert found(laid, distance, TURNS) == brute_force(laid, distance, TURNS)


def test_comparing_in_portions_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    hashes[200:] = hashes[:100] ^ np.uint64(0b101 << 40)
    whole = found(hashes, 6)
    assert len(whole) == 100
    monkeypatch.setattr(module, "_AT_ONCE", 13)
    assert found(hashes, 6) == whole


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_two_hashes_are_no_pair(count):
    assert found(np.zeros(count, np.uint64), 6) == []


def test_few_of_many_random_hashes_are_compared(monkeypatch):
    compared = []
    candidates = module._candidates

    def watched(*args):
        for first, second in candidates(*args):
            compared.append(len(first))
            yield first, second

    monkeypatch.setattr(module, "_candidates", watched)
    count = 10_000
    near_hashes(np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64), 6)
    assert sum(compared) == pytest.approx(
        4 * count + count**2 * 68 / 2**16, rel=0.03
    )  # itself in each word
