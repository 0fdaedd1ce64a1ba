"""Images and units go where they bring parts nearest to their shares."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency

from gv_data.splitting.allotment import ALIKE, Balance, allot, deal
from gv_data.splitting.shares import Shares
from gv_data.splitting.split_figures import chi_squared, divergence

shares = st.one_of(
    st.builds(Shares.folds, st.integers(2, 9)),
    st.builds(Shares.holdout, st.floats(0.01, 0.45), st.floats(0.01, 0.45)),
)


@given(shares, st.lists(st.integers(0, 6), min_size=9, max_size=400), st.integers(0, 9))
def test_dealt_images_are_as_many_as_their_shares_in_all_and_of_each_kind(shares, kinds, seed):
    kind = np.array(kinds)
    parts = deal(kind, shares, np.random.default_rng(seed))
    counts = np.bincount(parts, minlength=len(shares))
    exact = np.array(shares.wanted) * len(kind)
    assert counts.min() >= 1
    assert np.all((np.abs(counts - exact) < 1) | (counts == 1) | (exact < 1).any())
    for k in set(kinds):
        taken = np.bincount(parts[kind == k], minlength=len(shares))
        assert np.all(np.abs(taken - counts / len(kind) * np.sum(kind == k)) < 2)


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 7), st.integers(0, 10_000), st.booleans())
def test_few_units_are_allotted_as_near_as_any_way_there_is(units, seed, folds):
    rng = np.random.default_rng(seed)
    unit = np.sort(np.r_[np.arange(units), rng.integers(0, units, 30)])
    amounts = np.stack([np.ones(len(unit)), rng.poisson(3, len(unit)) + 0.1], axis=1)
    shares = Shares.folds(3) if folds else Shares.holdout(0.2, 0.15)
    parts = allot(unit, Balance(amounts, np.ones(2)), shares, np.random.default_rng(seed))

    def far(parts) -> float:
        got = np.array([amounts[parts == n].sum(axis=0) for n in range(3)]) / amounts.sum(axis=0)
        wanted = np.array(shares.wanted)[:, None]
        return float(((got - wanted) ** 2 / wanted).sum())

    ways = [np.array(way) for way in product(range(3), repeat=units) if len(set(way)) == 3]
    assert far(parts) < min(far(way[unit]) for way in ways) + ALIKE


def test_many_units_come_nearer_than_98_of_100_draws_by_chance():
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(60), rng.integers(1, 40, 60))
    amounts = np.stack([np.ones(len(unit)), rng.gamma(0.3, 5, len(unit))], axis=1)
    balance, shares = Balance(amounts, np.ones(2)), Shares.holdout()
    ours = balance.distance(allot(unit, balance, shares, rng), shares)
    chance = [rng.choice(3, 60, p=shares.wanted)[unit] for _ in range(1000)]
    far = [balance.distance(parts, shares) for parts in chance]
    assert ours < ALIKE < np.quantile(far, 0.02)


def test_every_part_gets_a_unit_even_if_its_share_is_less_than_one():
    unit = np.repeat(np.arange(20), 5)
    balance = Balance(np.ones((100, 1)), np.ones(1))
    parts = allot(unit, balance, Shares.holdout(0.3, 0.001), np.random.default_rng(0))
    assert np.bincount(parts).tolist() == [65, 30, 5]


def test_units_that_would_be_lost_count_against_a_way():
    unit = np.arange(8)
    balance = Balance(np.ones((8, 1)), np.ones(1))

    def settle(way):  # neighbours in different parts: the first is lost
        return np.where(np.r_[way[1:] != way[:-1], False], -1, way)

    parts = allot(unit, balance, Shares.folds(2), np.random.default_rng(0), settle=settle)
    assert np.sum(parts < 0) == 1


@given(st.lists(st.integers(0, 50), min_size=12, max_size=12))
def test_figures_of_mixes_are_those_of_scipy(counts):
    table = np.array(counts).reshape(3, 4) + np.eye(3, 4, dtype=int)  # no part is empty
    found = chi_squared(table)
    occurring = table[:, table.any(axis=0)]
    expected = chi2_contingency(occurring, correction=False)
    assert (found.value, found.freedom, found.p) == pytest.approx(
        (expected.statistic, expected.dof, expected.pvalue)
    )
    bits = jensenshannon(table[0], table.sum(axis=0), base=2) ** 2
    assert divergence(table[0], table.sum(axis=0)) == pytest.approx(bits, abs=1e-9)
