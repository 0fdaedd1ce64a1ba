"""Entry points of gv-train."""

from gv_train import launch


def train() -> int:
    """Run ``train``: the experiment named first, or the app's default."""
    return launch.main()
