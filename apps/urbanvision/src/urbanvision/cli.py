"""The ``urbanvision`` command; each verb's module is imported when it is chosen."""

from gv_data.terminal.command import Command, Family, Verb, run


def main() -> int:
    """Run ``urbanvision``."""
    return run("urbanvision", FAMILY)


def _train() -> Family:
    from gv_train import launch

    return launch.family("urbanvision")


def _verb(name: str) -> Command:
    from urbanvision import verbs

    return getattr(verbs, name)


FAMILY = Family(
    "Urban maps from imagery.",
    (
        "urbanvision train",
        "urbanvision train buildings --image ortho.tif --labels roofs.gpkg",
        "urbanvision predict runs/buildings/latest/package SCENE.tif --out maps",
    ),
    {
        "train": Verb("train an experiment; without a name: buildings", _train),
        "predict": Verb("map the buildings of scenes", lambda: _verb("PREDICT")),
        "evaluate": Verb("compare a map with true buildings", lambda: _verb("EVALUATE")),
        "export": Verb("write a package as ONNX", lambda: _verb("EXPORT")),
    },
)
