"""How to train: the settings that every experiment shares. No torch here: help must be instant."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How fast, how many steps and on what to train."""

    max_epochs: int | None = None
    """Stop after so many epochs."""
    max_steps: int | None = None
    """Stop after so many optimizer steps."""
    epoch_windows: int = 160
    """Windows an epoch; validation comes after each epoch."""
    object_share: float = 0.5
    """Share of the windows that are drawn around a label; the others lie anywhere."""
    batch_size: int | Literal["auto"] = 2
    """Windows a step; auto halves from 64 until they fit into memory, and makes it up by
    accumulation."""
    accumulate: int = 1
    """Batches whose gradients are summed before each optimizer step."""
    overlooked: float | None = None
    """Probability from which ground without a label is not learnt from: people overlook objects.
    1 believes all labels; none: 0.9, or 1 where labels are said to be complete."""
    lr: float = 1.5e-3
    """Peak learning rate of the decoder and the heads."""
    encoder_lr: float = 1.0
    """Learning rate of the encoder, as a share of ``lr``."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW)."""
    patience: int | None = None
    """Stop after so many validations without a better result; none: never."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    devices: int = 1
    """Devices of each machine that train together; on a CPU, processes."""
    num_nodes: int = 1
    """Machines that train together; torchrun and SLURM say it themselves."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share the work: ddp copies the network, fsdp divides it."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Numbers to compute with; auto takes bf16-mixed where the GPU or CPU has it, else 32-true."""
    workers: int | Literal["auto"] = "auto"
    """Processes that read windows; auto chooses by the cores."""
    threads: int | None = None
    """CPU threads of the network; none: all cores."""
    checkpoint_minutes: float = 5.0
    """A kill loses at most this much."""
    log: Literal["csv", "arrow", "hdf5"] = "csv"
    """How metrics are written; all are readable while the run goes on."""
    not_finite: Literal["stop", "skip"] = "stop"
    """What a loss that is NaN or infinite does: stop the training, or skip the step."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        for name in (
            "max_epochs",
            "max_steps",
            "patience",
            "threads",
            "accumulate",
            "devices",
            "num_nodes",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name.replace('_', '-')} {value}: must be at least 1")
        if self.workers != "auto" and self.workers < 0:
            raise ValueError(f"workers {self.workers}: must be at least 0")
        if self.batch_size != "auto" and not 1 <= self.batch_size <= self.epoch_windows:
            raise ValueError(
                f"batch-size {self.batch_size}: must lie between 1 and the {self.epoch_windows} "
                "epoch-windows"
            )
        if self.overlooked is not None and not 0.5 <= self.overlooked <= 1:
            raise ValueError(f"overlooked {self.overlooked:g}: 0.5 to 1, which believes all labels")
        if not 0 <= self.object_share <= 1:
            raise ValueError(f"object-share {self.object_share:g}: 0 to 1")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr {self.lr:g}: must lie between 0 and 1")
