"""What the buildings experiment decides for the user."""

from pathlib import Path

import pytest

from gv_train.settings import Trainer
from urbanvision.buildings import Buildings
from urbanvision.learning import _overlooked

FILES = {"image": (Path("a.tif"),), "labels": Path("roofs.gpkg")}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 1.0),  # synthetic towns: labels are exact
        ({"data": Path("catalog")}, 0.9),
        (FILES, 0.9),
        ({**FILES, "labelled_area": Path("area.gpkg")}, 1.0),
        ({"data": Path("catalog"), "empty_images": "learn"}, 1.0),
        ({"trainer": Trainer(overlooked=0.8)}, 0.8),
    ],
)
def test_labels_are_believed_where_they_are_exact_or_said_to_be_complete(settings, expected):
    assert _overlooked(Buildings(**settings)) == expected


@pytest.mark.parametrize("overlooked", [0, 0.49, 1.01])
def test_a_network_that_doubts_all_ground_is_refused(overlooked):
    with pytest.raises(ValueError, match=r"0\.5 to 1"):
        Trainer(overlooked=overlooked)
