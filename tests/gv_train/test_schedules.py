"""Learning rates against closed forms and PyTorch's schedulers, and as a real trainer uses them."""

import itertools
import math
import time
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch.optim import SGD
from torch.optim import lr_scheduler as theirs
from torch.utils.data import DataLoader, TensorDataset

from gv_train.clock import Clock
from gv_train.errors import TrainError
from gv_train.lengths import Length, Moment
from gv_train.schedules import Plateau, Schedule

STEPS = 24
SHAPES = ("constant", "cosine", "polynomial", "step", "one-cycle", "plateau")


def ours(schedule, steps=STEPS, epoch_steps=None):
    return [schedule.factor(step, steps, epoch_steps) for step in range(steps)]


def torchs(make, steps=STEPS):
    """Factors of a scheduler of PyTorch, one for each step."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls the others as one no longer should
        scheduler = make(optimizer)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def close(first, second):
    assert first == pytest.approx(second, abs=1e-9)


@st.composite
def schedules(draw, shapes=SHAPES):
    name = draw(st.sampled_from(shapes))
    settings = {"minimum": draw(st.floats(0, 0.5))}
    if name == "polynomial":
        settings["power"] = draw(st.floats(0.5, 3))
    if name == "step":
        settings |= {"every": draw(st.floats(0.05, 1)), "gamma": draw(st.floats(0.1, 1))}
    warmup, start = draw(st.floats(0.01, 0.5)), draw(st.floats(0.001, 1))
    return Schedule(name=name, warmup=warmup, warmup_from=start, **settings)


def test_cosine_has_the_rates_of_torch():
    schedule = Schedule(warmup=0, minimum=0.1)
    close(ours(schedule), torchs(lambda o: theirs.CosineAnnealingLR(o, STEPS, eta_min=0.1)))


@pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
def test_polynomial_has_the_rates_of_torch(power):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = Schedule(name="polynomial", warmup=0, power=power)
    close(ours(schedule), torchs(lambda o: theirs.PolynomialLR(o, STEPS, power=power)))


def test_one_cycle_has_the_rates_of_torch():
    schedule = Schedule(name="one-cycle", warmup=0.25, warmup_from=1 / 25, minimum=1e-4 / 25)
    rise = 0.25 * STEPS

    def make(optimizer):
        # torch's last step lies at the minimum, ours one step before it
        return theirs.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=STEPS + 1,
            pct_start=(rise + 1) / (STEPS + 1),
            cycle_momentum=False,
        )

    close(ours(schedule), torchs(make))


def test_warm_up_and_cosine_have_the_rates_of_torchs_chain():
    def make(optimizer):
        rise = theirs.LinearLR(optimizer, 0.1, total_iters=8)
        fall = theirs.CosineAnnealingLR(optimizer, STEPS - 8)
        return theirs.SequentialLR(optimizer, [rise, fall], [8])

    close(ours(Schedule(warmup="8 steps", warmup_from=0.1)), torchs(make))
    close(ours(Schedule(warmup="2 epochs", warmup_from=0.1), epoch_steps=4), torchs(make))
    close(ours(Schedule(warmup=8 / STEPS, warmup_from=0.1)), torchs(make))


@pytest.mark.parametrize("every", ["5 steps", "2.5 epochs", 5 / STEPS])
def test_step_has_the_rates_of_torchs_chain(every):
    def make(optimizer):
        rise = theirs.LinearLR(optimizer, 0.1, total_iters=4)
        fall = theirs.StepLR(optimizer, 5, gamma=0.5)
        return theirs.SequentialLR(optimizer, [rise, fall], [4])

    schedule = Schedule(name="step", warmup="4 steps", warmup_from=0.1, every=every, gamma=0.5)
    close(ours(schedule, epoch_steps=2), torchs(make))


@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.05]),
    st.sampled_from(["max", "min"]),
)
def test_plateau_drops_where_torch_does(values, patience, cooldown, threshold, mode):
    schedule = Schedule(
        name="plateau",
        gamma=0.5,
        patience=patience,
        cooldown=cooldown,
        threshold=threshold,
        minimum=0.1,
    )
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = theirs.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=0.5,
        patience=patience,
        threshold=threshold,
        threshold_mode="abs",
        cooldown=cooldown,
        min_lr=0.1,
        eps=0,
    )
    plateau = Plateau()
    # the boundary itself is decided by rounding: best + threshold there, a difference here
    assume(
        all(
            abs(abs(one - other) - threshold) > 1e-9
            for one, other in itertools.combinations(values, 2)
            if one != other
        )
    )
    for value in values:
        oracle.step(value)
        plateau = plateau.after(value, schedule, mode)
        assert plateau.factor == optimizer.param_groups[0]["lr"]


@given(schedules())
def test_is_continuous_where_the_warm_up_ends(schedule):
    end = Length.read(schedule.warmup).count
    assert schedule.factor(end) == pytest.approx(1)
    assert schedule.factor(end * (1 - 1e-9)) == pytest.approx(1, abs=1e-6)


@given(schedules(), st.floats(0, 1))
def test_stays_between_zero_and_the_peak(schedule, progress):
    assert 0 <= schedule.factor(progress) <= 1 + 1e-12
    assert schedule.factor(0) > 0


@given(schedules(), st.floats(0, 1), st.floats(0, 1))
def test_only_rises_in_the_warm_up_and_only_falls_after_it(schedule, first, second):
    early, late = sorted((first, second))
    end = Length.read(schedule.warmup).count
    assert schedule.factor(early * end) <= schedule.factor(late * end) + 1e-12
    early, late = (end + (1 - end) * share for share in (early, late))
    assert schedule.factor(early) >= schedule.factor(late) - 1e-12


@given(schedules(tuple({*SHAPES} - {"step"})), st.integers(0, 200), st.integers(1, 200))
def test_steps_and_minutes_mean_the_same_share(schedule, step, total):
    close(schedule.factor(step, total), schedule.factor(step / total))


@given(schedules(("cosine", "polynomial", "one-cycle")))
def test_falling_shapes_end_at_the_minimum(schedule):
    assert schedule.factor(1.0) == pytest.approx(schedule.minimum)
    assert schedule.factor(2.0) == pytest.approx(schedule.minimum)


def test_a_fall_may_end_early_and_hold():
    schedule = Schedule(warmup=0.1, minimum=0.05, until=0.75)
    assert [schedule.factor(share) for share in (0.75, 0.8, 1.0)] == pytest.approx([0.05] * 3)
    assert schedule.factor(0.425) == pytest.approx(0.525)


@pytest.mark.parametrize(
    ("written", "count", "unit"),
    [
        (0.05, 0.05, "share"),
        ("0.05", 0.05, "share"),
        ("5%", 0.05, "share"),
        (0, 0.0, "share"),
        ("500 steps", 500, "steps"),
        ("1 step", 1, "steps"),
        ("2.5 epochs", 2.5, "epochs"),
        ("3epochs", 3, "epochs"),
    ],
)
def test_reads_lengths_as_people_write_them(written, count, unit):
    assert Length.read(written) == Length(count, unit)


@pytest.mark.parametrize("written", ["soon", "", 5, "5", "-1 steps", "nan", "120%", "1e steps"])
def test_a_wrong_length_is_one_clear_error(written):
    with pytest.raises(ValueError, match="is no length of a training: give a share"):
        Length.read(written)


def test_epochs_of_unknown_length_are_refused():
    with pytest.raises(TrainError, match="how many steps an epoch has"):
        Schedule(warmup="2 epochs").factor(3, 10)
    with pytest.raises(TrainError, match="not measured in steps"):
        Length.read(0.5).in_steps(math.inf)
    assert Length.read(0).passed(Moment(0, 0.0)) == math.inf


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warmup": "soon"}, "warmup: 'soon' is no length"),
        ({"warmup_from": 0}, "warmup-from 0"),
        ({"minimum": 1}, "minimum 1"),
        ({"power": 0, "name": "polynomial"}, "power 0"),
        ({"gamma": 0, "name": "step"}, "gamma 0"),
        ({"every": 0, "name": "step"}, "every 0"),
        ({"patience": -1, "name": "plateau"}, "patience -1"),
        ({"until": math.nan}, "until nan"),
    ],
)
def test_a_wrong_setting_is_named(settings, said):
    with pytest.raises(ValueError, match=said):
        Schedule(**settings)


def test_a_setting_without_effect_warns():
    with pytest.warns(UserWarning, match="power 2.0 has no effect on a schedule that is cosine"):
        Schedule(power=2.0)


class Two(LightningModule):
    """Learns a line with two groups of parameters; its validation value follows a list."""

    def __init__(self, scores=(), groups=None, *, scheduled=False):
        super().__init__()
        self.scheduled = scheduled
        torch.manual_seed(1)
        self.encoder = torch.nn.Linear(1, 1)
        self.head = torch.nn.Linear(1, 1)
        self.scores = scores
        self.groups = groups or [{"lr": 0.1}, {"lr": 0.01, "name": "encoder"}]

    def training_step(self, batch, index):
        x, y = batch
        return torch.nn.functional.mse_loss(self.head(self.encoder(x)), y)

    def validation_step(self, batch, index):
        if self.scores:
            self.log("val_iou", self.scores[self.current_epoch])

    def configure_optimizers(self):
        modules = (self.head, self.encoder)
        optimizer = SGD(
            [
                {"params": module.parameters(), **group}
                for module, group in zip(modules, self.groups, strict=True)
            ]
        )
        return ([optimizer], [theirs.StepLR(optimizer, 3)]) if self.scheduled else optimizer


class Used(Callback):
    """Notes the rates when the optimizer steps; may save and break the training after a step."""

    def __init__(self, kill=None, save=None):
        self.kill, self.save = kill, save
        self.rates = {}

    def _break(self, trainer):
        if trainer.global_step == self.kill:
            trainer.save_checkpoint(self.save)
            raise KeyError("killed")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates[trainer.global_step] = [group["lr"] for group in optimizer.param_groups]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        # the last batch of an epoch is not the place: Lightning skips its validation on a resume
        if trainer.global_step % 5:
            self._break(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        self._break(trainer)


class Log(Callback):
    """Stands in for a logger: keeps what the clock would log for an epoch."""

    def __init__(self, clock):
        self.clock = clock
        self.told = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.told.append(self.clock.epoch_rates())


def train(clock, *, epochs=3, model=None, resume=None, used=None, log=False, **settings):
    """Nine batches an epoch, of which the last is accumulated alone."""
    x = torch.linspace(-1, 1, 18)[:, None]
    data = DataLoader(TensorDataset(x, 2 * x), batch_size=2)
    used, told = used or Used(), Log(clock)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=settings.pop("accumulate", 2),
        callbacks=[told, clock, used],
        logger=log,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    model = model or Two()
    trainer.fit(model, data, data, ckpt_path=resume, weights_only=True if resume else None)
    return trainer, model, used.rates, told.told


@pytest.mark.parametrize("name", ["cosine", "polynomial", "step", "one-cycle", "constant"])
def test_each_optimizer_step_has_its_closed_form_in_every_group(name):
    schedule = Schedule(name=name, warmup="1 epochs")
    _, _, rates, _ = train(Clock(steps=15, minutes=None, schedule=schedule))
    assert list(rates) == list(range(15))
    for step, (first, second) in rates.items():
        factor = schedule.factor(step, 15, epoch_steps=5)
        assert (first, second) == (0.1 * factor, 0.01 * factor)


def test_without_steps_the_clock_takes_those_of_the_trainer():
    clock = Clock(steps=None, minutes=None, schedule=Schedule(warmup=0))
    trainer, _, rates, _ = train(clock, epochs=2)
    assert clock.steps == trainer.global_step == 10
    assert rates[9][0] == pytest.approx(0.1 * (0.5 + 0.5 * math.cos(math.pi * 0.9)))


@pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before")
@pytest.mark.parametrize("name", ["cosine", "step", "plateau"])
@pytest.mark.parametrize("kill", [3, 7, 10])
def test_a_resumed_training_has_the_rates_of_an_uninterrupted_one_to_the_bit(name, kill, tmp_path):
    schedule = Schedule(name=name, warmup="3 steps")
    if name == "plateau":
        schedule = replace(schedule, patience=0, gamma=0.5)
    scores = [0.5, 0.4, 0.45, 0.3]

    def clock():
        return Clock(steps=20, minutes=None, schedule=schedule, monitor="val_iou")

    _, whole, expected, epochs = train(clock(), epochs=4, model=Two(scores))
    saved = tmp_path / "broken.ckpt"
    killed = Used(kill=kill, save=saved)
    with pytest.raises(KeyError, match="killed"):
        train(clock(), epochs=4, model=Two(scores), used=killed)
    _, resumed, rates, later = train(clock(), epochs=4, model=Two(scores), resume=saved)
    assert {**killed.rates, **rates} == expected
    assert min(rates) == kill
    assert later == epochs[-len(later) :]
    if kill % 5 == 0:  # inside an epoch this plain loader starts again with its first batch
        assert torch.equal(resumed.head.weight, whole.head.weight)
    if name == "plateau":
        assert len({first for first, _ in expected.values()}) == 3 + 3


def test_the_rates_logged_are_those_used():
    clock = Clock(steps=15, minutes=None, schedule=Schedule(warmup=0.2))
    _, _, rates, epochs = train(clock)
    for index, told in enumerate(epochs):
        used = [rates[step] for step in range(5 * index, 5 * index + 5)]
        for suffix, group in (("", 0), ("/encoder", 1)):
            assert told[f"train_lr{suffix}_epoch"] == used[-1][group]
            mean = sum(rate[group] for rate in used) / 5
            assert told[f"train_lr_mean{suffix}_epoch"] == pytest.approx(mean, rel=1e-12)
    assert clock.lr == rates[14][0]
    assert clock.rates == {"lr": rates[14][0], "lr/encoder": rates[14][1]}


class Memory(Logger):
    """Keeps what it is given."""

    name, version = "memory", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, params):
        pass


def test_epoch_rates_go_to_the_logger_unrounded():
    log = Memory()
    clock = Clock(steps=10, minutes=None, schedule=Schedule(warmup=0.2))
    _, _, rates, _ = train(clock, epochs=2, log=log)
    rows = [(step, row) for step, row in log.rows if "train_lr_epoch" in row]
    assert [(step, row["epoch"]) for step, row in rows] == [(4, 0), (9, 1)]
    assert [row["train_lr_epoch"] for _, row in rows] == [rates[4][0], rates[9][0]]
    assert [row["train_lr/encoder_epoch"] for _, row in rows] == [rates[4][1], rates[9][1]]


def test_groups_of_one_rate_are_told_once():
    groups = [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.1}]
    clock = Clock(steps=5, minutes=None)
    train(clock, epochs=1, model=Two(groups=groups))
    assert list(clock.rates) == ["lr"]


def test_training_by_the_clock_follows_the_time(monkeypatch, tmp_path):
    now = itertools.count(step=0.5)  # each look at the clock costs half a second
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    clock = Clock(steps=None, minutes=0.2, schedule=Schedule(warmup="4 steps", warmup_from=0.1))
    trainer, _, rates, _ = train(clock, epochs=-1, accumulate=1)
    firsts = [first for first, _ in rates.values()]
    assert firsts[:5] == pytest.approx([0.01, 0.0325, 0.055, 0.0775, 0.1])
    assert all(early > late for early, late in itertools.pairwise(firsts[4:]))
    assert 5 < trainer.global_step < 24
    assert clock.progress == 1
    assert firsts[-1] < 0.02


def test_plateau_needs_a_value_and_counts_from_the_warm_up_on():
    with pytest.raises(TrainError, match="say which"):
        Clock(steps=5, minutes=None, schedule=Schedule(name="plateau"))
    schedule = Schedule(name="plateau", warmup="2 epochs", patience=0)
    clock = Clock(steps=20, minutes=None, schedule=schedule, monitor="val_iou")
    _, _, rates, _ = train(clock, epochs=4, model=Two([0.9, 0.5, 0.4, 0.6]))
    assert [rates[step][0] for step in (10, 14, 15, 19)] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    clock = Clock(steps=20, minutes=None, schedule=schedule, monitor="val_f1")
    with pytest.raises(TrainError, match="plateau watches val_f1, but validation logged val_iou"):
        train(clock, epochs=4, model=Two([0.9] * 4))


def test_a_second_scheduler_is_refused():
    with pytest.raises(TrainError, match=r"Two\.configure_optimizers gives a scheduler"):
        train(Clock(steps=5, minutes=None), model=Two(scheduled=True))


def test_a_schedule_and_a_warm_up_are_too_much():
    with pytest.raises(TrainError, match="give one of both"):
        Clock(steps=5, minutes=None, warmup=0.1, schedule=Schedule())


def test_a_warm_up_that_never_ends_warns():
    with pytest.warns(UserWarning, match="the learning rate only rises"):
        train(Clock(steps=5, minutes=None, warmup="50 steps"), epochs=1)


def test_a_schedule_is_a_configuration_without_torch(imported):
    modules, code, _ = imported("gv_train.schedules:Schedule")
    assert code == 1  # a schedule is no exit code
    assert not {"torch", "lightning"} & modules
