"""Scores at any threshold from one state, against torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import (
    binary_f1_score,
    binary_jaccard_index,
    binary_precision,
    binary_recall,
)

from gv_train.pixel_counts import PixelCounts


@given(st.integers(0, 2**32 - 1), st.integers(1, 199))
@settings(deadline=None, max_examples=30)
def test_scores_are_those_of_torchmetrics_at_any_threshold(seed, level) -> None:
    random = np.random.default_rng(seed)
    found = torch.from_numpy(random.integers(0, 201, (3, 9, 7)) / 200).float()
    truth = torch.from_numpy(random.choice([0, 1, 255], (3, 9, 7)).astype(np.uint8))
    counts = PixelCounts(ignore=255)
    for one, other in zip(found, truth, strict=True):
        counts.update(one[None], other[None])
    scores = counts.scores(level / 200)
    cut = (found * 200).round() >= level
    known = truth != 255
    for name, oracle in (
        ("iou", binary_jaccard_index),
        ("precision", binary_precision),
        ("recall", binary_recall),
        ("f1", binary_f1_score),
    ):
        expected = float(oracle(cut[known].int(), truth[known].int()))
        assert scores[name] == pytest.approx(expected, abs=1e-6)


def test_nothing_labelled_scores_zero() -> None:
    counts = PixelCounts(ignore=255)
    counts.update(torch.rand(1, 4, 4), torch.full((1, 4, 4), 255))
    assert counts.scores() == {"iou": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert counts.best_threshold() == 0.5


def test_the_best_threshold_parts_the_classes() -> None:
    counts = PixelCounts(ignore=255)
    found = torch.tensor([[[0.10, 0.20, 0.72, 0.74, 0.81, 0.95]]])
    counts.update(found, torch.tensor([[[0, 0, 0, 0, 1, 1]]]))
    assert counts.best_threshold() == 0.75
    assert counts.scores(0.75)["iou"] == 1.0


def test_equally_good_thresholds_stay_at_one_half() -> None:
    counts = PixelCounts(ignore=255)
    counts.update(torch.tensor([[[0.01, 0.99]]]), torch.tensor([[[0, 1]]]))
    assert counts.best_threshold() == 0.5
