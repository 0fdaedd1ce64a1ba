"""What the segmentation task learns from, and what it leaves out."""

import pytest
import torch
from torch import Tensor, nn

from gv_data.windows.dataset import IGNORE
from gv_train.segmentation import Segmentation


class Logits(nn.Module):
    """A network that says what it was told, whatever the image."""

    def __init__(self, interior: Tensor, edge: Tensor) -> None:
        super().__init__()
        self.interior, self.edge = nn.Parameter(interior), nn.Parameter(edge)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"interior": self.interior, "edge": self.edge}


# probability of a building 0.99, 0.8, 0.01, 0.01, and the same again
LOGITS = torch.tensor([0.99, 0.8, 0.01, 0.01] * 2).logit().reshape(1, 1, 2, 4)
MASK = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 1]]])


def gradients(overlooked: float, mask: Tensor = MASK) -> tuple[Tensor, Tensor]:
    """Of the training loss, in the logits of both heads."""
    network = Logits(LOGITS.clone(), torch.zeros(1, 1, 2, 4))
    weights = {"interior": 1.0, "edge": 0.5}
    task = Segmentation(network, weights=weights, mean=[0.0], std=[1.0], overlooked=overlooked)
    task.log = lambda *args, **kwargs: None
    batch = {"image": torch.zeros(1, 1, 2, 4), "mask": mask, "edge": torch.zeros_like(mask)}
    task.training_step(batch, 0).backward()
    assert network.interior.grad is not None
    assert network.edge.grad is not None
    return network.interior.grad[0, 0], network.edge.grad[0, 0]


def test_ground_that_surely_holds_an_overlooked_object_is_not_learnt_from() -> None:
    interior, edge = gradients(0.9)
    expected = [[False, True, True, True], [True, True, True, True]]
    assert (interior != 0).tolist() == expected
    assert (edge != 0).tolist() == expected


def test_it_counts_as_if_nobody_had_labelled_it() -> None:
    ignored = MASK.clone()
    ignored[0, 0, 0] = IGNORE
    interior, _ = gradients(0.9)
    expected, _ = gradients(1.0, ignored)
    assert torch.equal(interior, expected)


def test_all_labels_are_believed_if_wanted() -> None:
    for gradient in gradients(1.0):
        assert bool((gradient != 0).all())


def test_a_network_that_sees_objects_everywhere_is_told() -> None:
    mask = MASK.clone()
    mask[0, 0, 2:] = 1  # half of the ground left is surely an object, says the network
    assert bool((gradients(0.9, mask)[0] != 0).all())


def test_validation_believes_all_labels() -> None:
    network = Logits(LOGITS.clone(), torch.zeros(1, 1, 2, 4))
    task = Segmentation(network, weights={"interior": 1.0}, mean=[0.0], std=[1.0], overlooked=0.9)
    batch = {"image": torch.zeros(1, 1, 2, 4), "mask": MASK}
    task.validation_step(batch, 0)
    scores = task.counts.scores(0.5)
    assert scores["precision"] == pytest.approx(2 / 4)
    assert scores["recall"] == pytest.approx(2 / 4)
