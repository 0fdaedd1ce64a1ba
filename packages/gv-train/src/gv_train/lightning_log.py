"""What a LightningModule logs with ``self.log`` goes to a metric log.

The loggers work in a run of gv_train, and in any ``Trainer`` beside Lightning's own ones::

    Trainer(logger=[ArrowMetricsLogger("logs/metrics"), TensorBoardLogger("logs")])
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, override

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from gv_train.metric_log import Backend, MetricLog
from gv_train.metric_log.files import list_files


class MetricsLogger(Logger):
    """A Lightning logger that writes to a ``MetricLog``, on the first process only.

    Lightning counts steps from 0 and passes the index of the step just done; the log counts
    finished steps, so that the rows of a resumed attempt begin one after the step it started from.

    Args:
        log: Log of the attempt, or a folder. In a folder each ``fit`` adds an attempt with the
            first values it logs, and ends it with the training. Values named ``test_...`` are of
            the model as it stands, with no step after it.
        finished: Gives the number of finished steps; None: as Lightning counts, which is one off
            after a resume inside an epoch.
        from_step: Step of the checkpoint that an attempt in a folder starts from; rows of earlier
            attempts after it count as replaced. None: the step before the first one logged.
    """

    backend: ClassVar[Backend] = "csv"
    """Format of the files in a folder."""

    def __init__(
        self,
        log: MetricLog | Path | str,
        finished: Callable[[], int] | None = None,
        *,
        from_step: int | None = None,
    ) -> None:
        super().__init__()
        given = isinstance(log, MetricLog)
        self._log: MetricLog | None = log if given else None
        self._folder = log.folder if given else Path(log)
        self._given = given
        self._finished = finished
        self._from_step = from_step
        self._newest = 0

    @property
    @override
    def name(self) -> str:
        return "metrics"

    @property
    @override
    def version(self) -> int:
        """Attempt that is logged, or would be next."""
        return self._log.attempt if self._log is not None else self._next_attempt()

    @property
    @override
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricLog:
        """The log, to add confusion matrices to: ``logger.experiment.add_matrix(...)``."""
        return self._opened(self._newest if self._from_step is None else self._from_step)

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        epoch = int(values.pop("epoch", 0))
        if not values:
            return
        testing = all(name.startswith("test") for name in values)
        done = self._finished() if self._finished else (step or 0) + (0 if testing else 1)
        before = done if testing or done == self._newest else done - 1
        log = self._opened(before if self._from_step is None else self._from_step)
        log.add_named(values, step=done, epoch=epoch)
        self._newest = max(self._newest, done)

    @override
    def log_hyperparams(
        self, params: Mapping[str, object] | Namespace, *args: object, **kwargs: object
    ) -> None:
        """Nothing: a run has them in its ``hparams.yaml``; elsewhere other loggers write them."""

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the attempt in a folder; a log that was given is closed by its owner.

        Args:
            status: How the training ended, as Lightning says.
        """
        if self._log is not None and not self._given:
            self._log.close()
            self._log, self._from_step = None, None

    def _opened(self, from_step: int) -> MetricLog:
        if self._log is None:
            self._log = MetricLog(self._folder, self._next_attempt(), from_step, self.backend)
        return self._log

    def _next_attempt(self) -> int:
        return max((file.attempt for file in list_files(self._folder)), default=0) + 1


class CSVMetricsLogger(MetricsLogger):
    """Logs as CSV."""

    backend = "csv"


class ArrowMetricsLogger(MetricsLogger):
    """Logs as an Arrow stream that becomes a parquet file when the training ends."""

    backend = "arrow"


class HDF5MetricsLogger(MetricsLogger):
    """Logs as HDF5 that can be read while it is written; needs ``gv-train[hdf5]``."""

    backend = "hdf5"
