"""Pixels counted by probability and truth: the scores at every threshold from one state.

Probabilities are rounded to half a percent, as they are stored in maps, so that a score at a
threshold is that of the map cut there.
"""

from typing import override

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from gv_data.vectors.instances import PROBABILITY_ONE, stored_from

_AS_GOOD = 0.002
"""IoU below the best at which a threshold nearer to one half is preferred."""


class PixelCounts(Metric):
    """Counts of two classes; they add up over batches and devices.

    Attributes:
        counts: Pixels (2, 201) by truth (0, 1) and by rounded probability.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, ignore: int) -> None:
        """Start at nothing; ``ignore`` is the truth of pixels that nobody labelled."""
        super().__init__()
        self._ignore = ignore
        empty = torch.zeros(2, PROBABILITY_ONE + 1, dtype=torch.long)
        self.add_state("counts", empty, dist_reduce_fx="sum")

    @override
    def update(self, found: Float[Tensor, "b h w"], truth: Int[Tensor, "b h w"]) -> None:
        """Count the labelled pixels of a batch.

        Args:
            found: Probabilities in [0, 1].
            truth: 0, 1 or what is ignored.
        """
        known = truth != self._ignore
        levels = (found[known].float() * PROBABILITY_ONE).round().long()
        cells = truth[known].long() * (PROBABILITY_ONE + 1) + levels
        self.counts += torch.bincount(cells, minlength=self.counts.numel()).view_as(self.counts)

    @override
    def compute(self) -> Int[Tensor, "2 201"]:
        """The counts, over all devices."""
        return self.counts

    def scores(self, threshold: float = 0.5) -> dict[str, float]:
        """IoU, precision, recall and F1 of the pixels counted so far; 0 where nothing was found."""
        first = stored_from(threshold)
        counts = self.compute()
        false, hit = counts[:, first:].sum(dim=1).tolist()
        missed = int(counts[1, :first].sum())
        return {
            "iou": hit / max(hit + false + missed, 1),
            "precision": hit / max(hit + false, 1),
            "recall": hit / max(hit + missed, 1),
            "f1": 2 * hit / max(2 * hit + false + missed, 1),
        }

    def best_threshold(self) -> float:
        """Of the thresholds with the best IoU, to within 0.2 %, the one nearest to one half."""
        steps = [step / 20 for step in range(2, 19)]
        ious = {step: self.scores(step)["iou"] for step in steps}
        good = [step for step in steps if ious[step] >= max(ious.values()) - _AS_GOOD]
        return min(good, key=lambda step: abs(step - 0.5))
