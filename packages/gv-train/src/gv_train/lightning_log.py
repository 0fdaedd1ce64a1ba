"""What a LightningModule logs with ``self.log`` goes to the metric log of its run."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import override

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from gv_train.metric_log import MetricLog


class CSVMetricsLogger(Logger):
    """A Lightning logger that writes to a ``MetricLog``, on the first process only.

    Lightning counts steps from 0 and passes the index of the step just done; the log counts
    finished steps, so that the rows of a resumed attempt begin one after the step it started from.

    Args:
        log: Log of the attempt. Values named ``test_...`` are of the model as it stands, with no
            step after it.
        finished: Gives the number of finished steps; None: as Lightning counts, which is one off
            after a resume inside an epoch.
    """

    def __init__(self, log: MetricLog, finished: Callable[[], int] | None = None) -> None:
        super().__init__()
        self._log = log
        self._finished = finished

    @property
    @override
    def name(self) -> str:
        return "metrics"

    @property
    @override
    def version(self) -> int:
        return self._log.attempt

    @property
    @override
    def save_dir(self) -> str:
        return str(self._log.folder)

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        epoch = int(values.pop("epoch", 0))
        testing = all(name.startswith("test") for name in values)
        done = self._finished() if self._finished else (step or 0) + (0 if testing else 1)
        self._log.add_named(values, step=done, epoch=epoch)

    @override
    def log_hyperparams(
        self, params: Mapping[str, object] | Namespace, *args: object, **kwargs: object
    ) -> None:
        """Nothing: ``hparams.yaml`` of the run holds them all."""
