"""The ``urbanvision`` command; each verb's module is imported when it is chosen."""

from gv_data.command import Family, Verb, run


def main() -> int:
    """Run ``urbanvision``."""
    return run("urbanvision", FAMILY)


def _train() -> Family:
    from gv_train import launch

    return launch.family("urbanvision")


FAMILY = Family(
    "Urban maps from imagery.",
    (
        "urbanvision train",
        "urbanvision train buildings --image ortho.tif --labels roofs.gpkg",
    ),
    {"train": Verb("train an experiment; without a name: buildings", _train)},
)
