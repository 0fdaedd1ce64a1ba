"""Mixed batches against torchvision where it works, closed forms and counted pixels elsewhere."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, Trainer
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from gv_data.errors import SampleError
from gv_data.windows.dataset import IGNORE
from gv_data.windows.mixing import Box, CutMix, MixUp, blended, pasted


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def boxes(height: int, width: int) -> st.SearchStrategy[Box]:
    rows = st.tuples(st.integers(0, height), st.integers(0, height)).map(sorted)
    columns = st.tuples(st.integers(0, width), st.integers(0, width)).map(sorted)
    return st.builds(lambda r, c: Box(r[0], c[0], r[1], c[1]), rows, columns)


def provenance(count: int, height: int = 5, width: int = 7) -> dict[str, Any]:
    """Every pixel of every raster tells its sample and its place."""
    number = torch.arange(count * height * width).reshape(count, height, width)
    valid = number % 3 > 0
    return {
        "image": torch.stack([number, number + 0.5], 1).float() * valid[:, None],
        "valid": valid,
        "mask": torch.where(valid, number % 250, IGNORE),
        "edge": number.to(torch.int32),
        "height_m": torch.where(valid, number, torch.nan)[:, None].half(),
        "bounds": torch.arange(6.0).repeat(count, 1),
        "id": list("abcdefgh"[:count]),
    }


def unchanged(batch: dict[str, Any], copy: dict[str, Any]) -> bool:
    return all(
        torch.equal(v.nan_to_num(-1), copy[k].nan_to_num(-1))
        if torch.is_tensor(v)
        else v == copy[k]
        for k, v in batch.items()
    )


@settings(deadline=None)
@given(count=st.integers(1, 6), box=boxes(9, 7), hard=st.booleans())
def test_cutmix_of_one_box_is_torchvisions(count, box, hard):
    images = torch.rand(count, 3, 9, 7, generator=seeded())
    labels = torch.randint(4, (count,), generator=seeded())
    labels = labels if hard else F.one_hot(labels, 4).float()
    found = pasted({"image": images, "label": labels}, box, classes={"label": 4})
    stays = 1 - (box.bottom - box.top) * (box.right - box.left) / 63
    peer = v2.CutMix(num_classes=4)
    params = {
        "labels": labels,
        "batch_size": count,
        "box": (box.left, box.top, box.right, box.bottom),
        "lam_adjusted": stays,
    }
    assert torch.equal(found["image"], peer.transform(images, params))
    torch.testing.assert_close(found["label"], peer.transform(labels, params))


@settings(deadline=None)
@given(count=st.integers(1, 6), stays=st.floats(0, 1), hard=st.booleans())
def test_mixup_of_one_share_is_torchvisions(count, stays, hard):
    images = torch.rand(count, 3, 9, 7, generator=seeded())
    labels = torch.randint(4, (count,), generator=seeded())
    labels = labels if hard else F.one_hot(labels, 4).float()
    found = blended({"image": images, "label": labels}, stays, classes={"label": 4})
    peer, params = v2.MixUp(num_classes=4), {"labels": labels, "batch_size": count, "lam": stays}
    torch.testing.assert_close(found["image"], peer.transform(images, params))
    torch.testing.assert_close(found["label"], peer.transform(labels, params))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_boxes_and_shares_are_drawn_as_torchvision_draws_them(alpha):
    torch.manual_seed(0)
    generator, count = seeded(), 1500
    image = torch.zeros(2, 1, 16, 24)
    image[0] = 1  # what the second sample shows of it is the box
    cut, up = CutMix(alpha=alpha), MixUp(alpha=alpha)
    ours = torch.stack([cut({"image": image}, generator)["image"][1, 0] for _ in range(count)])
    peer = v2.CutMix(alpha=alpha, num_classes=2)
    drawn = [peer.make_params([image])["box"] for _ in range(count)]
    theirs = torch.zeros(count, 16, 24)
    for plane, (left, top, right, bottom) in zip(theirs, drawn, strict=True):
        plane[top:bottom, left:right] = 1
    # how often each pixel is replaced: six standard errors of the difference of two shares
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 6 * np.sqrt(2 * 0.25 / count)
    for share in (0.25, 0.5, 1.0):
        small = [(planes.mean((1, 2)) <= share).float().mean() for planes in (ours, theirs)]
        assert abs(small[0] - small[1]) < 6 * np.sqrt(2 * 0.25 / count)
    stays = torch.tensor(
        [float(up({"image": image}, generator)["image"][0, 0, 0, 0]) for _ in ours]
    )
    assert stays.mean() == pytest.approx(0.5, abs=0.08)
    assert stays.var() == pytest.approx(1 / (8 * alpha + 4), rel=0.15)  # of a beta distribution


@settings(deadline=None)
@given(count=st.integers(1, 5), box=boxes(5, 7))
def test_cutmix_moves_all_rasters_together_and_counts_their_pixels(count, box):
    batch, copy = provenance(count), provenance(count)
    owner = torch.arange(count)
    batch |= {"label": owner, "crop_t": owner.double() * 10}
    copy |= {"label": owner.clone(), "crop_t": batch["crop_t"].clone()}
    found = pasted(batch, box, classes={"label": 5}, values=["crop_t"])
    inside = torch.zeros(5, 7, dtype=torch.bool)
    inside[box.top : box.bottom, box.left : box.right] = True
    source = torch.where(inside, owner.roll(1)[:, None, None], owner[:, None, None])
    place = torch.arange(35).reshape(5, 7)
    number = source * 35 + place
    assert torch.equal(found["edge"], number.int())
    assert torch.equal(found["valid"], number % 3 > 0)
    assert torch.equal(found["mask"], torch.where(found["valid"], number % 250, IGNORE))
    assert torch.equal(found["image"][:, 0], number * found["valid"])
    assert torch.equal(found["height_m"].isnan()[:, 0], ~found["valid"])
    shares = F.one_hot(source, 5).float().mean((1, 2))
    torch.testing.assert_close(found["label"], shares, rtol=0, atol=1e-6)
    tonnes = (source * 10.0).double().mean((1, 2))
    torch.testing.assert_close(found["crop_t"], tonnes, rtol=0, atol=1e-9)
    for key in ("image", "valid", "mask", "edge", "height_m", "crop_t"):
        assert found[key].dtype == batch[key].dtype
    assert found["id"] == batch["id"]
    assert torch.equal(found["bounds"], batch["bounds"])
    assert unchanged(batch, copy)


@settings(deadline=None)
@given(count=st.integers(1, 5), stays=st.floats(0, 1))
def test_mixup_blends_what_is_known_of_both_and_leaves_the_rest_unknown(count, stays):
    batch, copy = provenance(count), provenance(count)
    batch["mask"] = torch.where(batch["valid"], batch["mask"] % 2, IGNORE)
    copy["mask"] = batch["mask"].clone()
    batch["edge"] = copy["edge"] = batch["edge"] % 2
    found = blended(batch, stays, classes={"mask": 1, "edge": 1}, values=["height_m"])
    before = {key: batch[key].roll(1, 0) for key in ("image", "valid", "mask", "edge")}
    known = (batch["valid"] | (stays == 0)) & (before["valid"] | (stays == 1))
    assert torch.equal(found["valid"], known)
    for key, there in (("image", known[:, None]), ("mask", known), ("edge", torch.tensor(True))):
        mixture = stays * batch[key].float() + (1 - stays) * before[key].float()
        expected = torch.where(there, mixture, 0.0 if key == "image" else IGNORE)
        torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found["height_m"].isnan()[:, 0], ~known)
    assert found["height_m"].dtype == torch.float16
    assert unchanged(batch, copy)


def test_the_loss_of_soft_masks_is_the_two_losses_weighted_by_their_shares():
    rng = seeded(3)
    logits = torch.randn(3, 4, 6, 6, generator=rng)
    mask = torch.randint(4, (3, 6, 6), generator=rng)
    mask[torch.rand(3, 6, 6, generator=rng) < 0.2] = IGNORE
    batch = {"image": torch.rand(3, 2, 6, 6), "mask": mask}
    soft = blended(batch, 0.3, classes={"mask": 4})["mask"]
    known = soft[:, 0] != IGNORE
    assert torch.equal(known, (mask != IGNORE) & (mask.roll(1, 0) != IGNORE))
    assert (soft == IGNORE).all(1).eq(~known).all()
    losses = [
        F.cross_entropy(logits, m.where(known, IGNORE), ignore_index=IGNORE, reduction="sum")
        for m in (mask, mask.roll(1, 0))
    ]
    found = F.cross_entropy(logits, soft, reduction="none")[known].sum()
    torch.testing.assert_close(found, 0.3 * losses[0] + 0.7 * losses[1])

    yes = {**batch, "mask": torch.where(mask == IGNORE, IGNORE, mask % 2)}
    soft = blended(yes, 0.3, classes={"mask": 1})["mask"]
    assert soft.shape == mask.shape
    losses = [
        F.binary_cross_entropy_with_logits(logits[:, 0][known], m[known].float())
        for m in (yes["mask"], yes["mask"].roll(1, 0))
    ]
    found = F.binary_cross_entropy_with_logits(logits[:, 0][known], soft[known])
    torch.testing.assert_close(found, 0.3 * losses[0] + 0.7 * losses[1])


@pytest.mark.parametrize("mix", ["pasted", "blended"])
def test_unknown_truth_of_whole_samples_stays_unknown(mix):
    batch = {
        "image": torch.rand(4, 1, 2, 2),
        "label": torch.tensor([0, IGNORE, 1, 1]),
        "tags": torch.tensor([[1, 0], [0, 0], [IGNORE, 1], [1, 1]]),
        "yield_t": torch.tensor([1.0, 2.0, 4.0, torch.nan]),
    }
    declared = {"classes": {"label": 2, "tags": 1}, "values": ["yield_t"]}
    half = (  # of each sample is its own
        pasted(batch, Box(0, 0, 1, 2), **declared)
        if mix == "pasted"
        else blended(batch, 0.5, **declared)
    )
    u = float(IGNORE)
    assert half["label"].tolist() == [[0.5, 0.5], [u, u], [u, u], [0, 1]]
    assert half["tags"].tolist() == [[1, 0.5], [0.5, 0], [u, 0.5], [u, 1]]
    np.testing.assert_array_equal(half["yield_t"], [np.nan, 1.5, 3, np.nan])


def test_a_sample_without_a_share_makes_nothing_unknown():
    batch = {
        "image": torch.rand(2, 1, 2, 2),
        "valid": torch.tensor([[[True, False]] * 2, [[False, True]] * 2]),
        "label": torch.tensor([1, IGNORE]),
    }
    for own in (blended, lambda b, _, **kw: pasted(b, Box(1, 1, 1, 1), **kw)):
        found = own(batch, 1.0, classes={"label": 2})
        assert found["label"].tolist() == [[0, 1], [255, 255]]
        assert torch.equal(found["valid"], batch["valid"])
    for other in (blended, lambda b, _, **kw: pasted(b, Box(0, 0, 2, 2), **kw)):
        found = other(batch, 0.0, classes={"label": 2})
        assert found["label"].tolist() == [[255, 255], [0, 1]]
        assert torch.equal(found["valid"], batch["valid"].flip(0))


MIXES = [CutMix(classes={"label": 3}), MixUp(alpha=1.0, classes={"label": 3, "mask": 1})]


def labelled(count: int = 3) -> dict[str, Any]:
    mask = torch.ones(count, 8, 8, dtype=torch.uint8)
    rng = seeded(1)
    image, label = torch.rand(count, 2, 8, 8, generator=rng), torch.arange(count) % 3
    return {"image": image, "label": label, "mask": mask}


@pytest.mark.parametrize("mix", MIXES)
def test_all_choices_come_from_the_generator(mix):
    state = torch.get_rng_state()
    generator = seeded(4)
    one, two = mix(labelled(), generator), mix(labelled(), generator)
    again = mix(labelled(), seeded(4))
    assert torch.equal(one["image"], again["image"])
    assert torch.equal(one["label"], again["label"])
    assert not torch.equal(one["image"], two["image"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mix", MIXES)
def test_a_copy_in_another_process_mixes_alike(mix):
    copy = pickle.loads(pickle.dumps(mix))
    assert torch.equal(copy(labelled(), seeded())["image"], mix(labelled(), seeded())["image"])


@pytest.mark.parametrize("kind", [CutMix, MixUp])
def test_the_chance_says_how_many_batches_are_mixed_and_all_have_the_same_types(kind):
    mix, generator = kind(alpha=1.0, classes={"label": 3, "mask": 1}, chance=0.3), seeded()
    found = [mix(labelled(), generator) for _ in range(400)]
    mixed = sum(not torch.equal(batch["image"], labelled()["image"]) for batch in found)
    assert 0.15 < mixed / 400 < 0.45  # 0.3, six standard deviations; small boxes may be empty
    assert {batch["label"].dtype for batch in found} == {torch.float32}
    assert {batch["label"].shape for batch in found} == {(3, 3)}
    assert len({batch["mask"].dtype for batch in found}) == 1


@pytest.mark.parametrize("mix", MIXES)
def test_a_batch_of_one_is_mixed_with_itself(mix):
    for seed in range(5):
        found = mix(labelled(1), seeded(seed))
        assert torch.equal(found["image"], labelled(1)["image"])
        assert found["label"].tolist() == [[1, 0, 0]]


def test_cutmix_and_mixup_may_follow_one_another():
    truth = {"label": 3, "mask": 1}
    generator = seeded()
    once = CutMix(classes=truth)(labelled(), generator)
    twice = CutMix(classes=truth)(MixUp(1.0, classes=truth)(once, generator), generator)
    torch.testing.assert_close(twice["label"].sum(1), torch.ones(3))
    torch.testing.assert_close(twice["mask"], torch.ones(3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_keep_their_type_and_their_device(dtype):
    batch = {
        "image": torch.empty(3, 2, 8, 8, dtype=dtype, device="meta"),
        "valid": torch.empty(3, 8, 8, dtype=torch.bool, device="meta"),
        "height_m": torch.empty(3, device="meta"),
    }
    for mix in (CutMix(values=["height_m"]), MixUp(values=["height_m"])):
        found = mix(batch, seeded())
        assert all(found[key].is_meta for key in batch)
        assert found["image"].dtype == dtype


def test_series_and_several_sensors_share_the_box_and_the_share():
    rng = seeded(2)
    batch = {
        "image": torch.rand(3, 4, 2, 8, 8, generator=rng),
        "sar": torch.rand(3, 1, 8, 8, generator=rng),
        "valid": torch.rand(3, 8, 8, generator=rng) < 0.7,
    }
    box = pasted(batch, Box(1, 2, 6, 7))
    for key in ("image", "sar"):
        part = (..., slice(1, 6), slice(2, 7))
        assert torch.equal(box[key][part], batch[key].roll(1, 0)[part])
        assert torch.equal(box[key][..., 6:, :], batch[key][..., 6:, :])
    up = blended(batch, 0.25)
    both = batch["valid"] & batch["valid"].roll(1, 0)
    for key, known in (("image", both[:, None, None]), ("sar", both[:, None])):
        expected = (0.25 * batch[key] + 0.75 * batch[key].roll(1, 0)) * known
        torch.testing.assert_close(up[key], expected)


def dated(count: int = 4) -> dict[str, Any]:
    """Series of which every date is missing elsewhere, and objects numbered in each sample."""
    rng = seeded(3)
    valid = torch.rand(count, 3, 8, 9, generator=rng) < 0.7
    s2_valid = torch.rand(count, 2, 8, 9, generator=rng) < 0.7
    return {
        "image": torch.rand(count, 3, 3, 8, 9, generator=rng) * valid[:, :, None],
        "valid": valid,
        "dates": torch.arange(3 * count).reshape(count, 3),
        "s2": torch.rand(count, 2, 4, 8, 9, generator=rng) * s2_valid[:, :, None],
        "s2_valid": s2_valid,
        "instances": torch.randint(-1, 6, (count, 8, 9), generator=rng),
    }


@pytest.mark.parametrize(
    "mix", [lambda b: pasted(b, Box(1, 2, 6, 7)), lambda b: blended(b, 0.3)], ids=["cut", "up"]
)
def test_every_date_of_a_series_is_mixed_as_a_single_image(mix):
    batch = {key: value for key, value in dated().items() if key != "instances"}
    mixed = mix(batch)
    assert torch.equal(mixed["dates"], batch["dates"])
    for key, valid in (("image", "valid"), ("s2", "s2_valid")):
        for n in range(batch[key].shape[1]):
            alone = mix({"image": batch[key][:, n], "valid": batch[valid][:, n]})
            assert torch.equal(mixed[key][:, n], alone["image"])
            assert torch.equal(mixed[valid][:, n], alone["valid"])


def test_objects_of_a_pasted_box_are_numbered_apart_from_those_around():
    batch = dated()
    mixed, box = pasted(batch, Box(1, 2, 6, 7))["instances"], (..., slice(1, 6), slice(2, 7))
    own, other = batch["instances"], batch["instances"].roll(1, 0)[box]
    around = mixed.clone()
    around[box] = own[box]
    assert torch.equal(around, own)
    assert torch.equal(mixed[box] <= 0, other <= 0)
    assert torch.equal(mixed[box][other <= 0], other[other <= 0])
    for sample in range(4):
        pairs = torch.stack([other[sample].flatten(), mixed[box][sample].flatten()], 1)
        named = {(before, after) for before, after in pairs.tolist() if before > 0}
        assert len({a for a, _ in named}) == len({b for _, b in named}) == len(named)
        assert not {b for _, b in named} & set(own[sample].flatten().tolist())
    alone = {key: value[:1] for key, value in batch.items()}
    assert torch.equal(pasted(alone, Box(1, 2, 6, 7))["instances"], alone["instances"])


def test_objects_cannot_be_blended():
    with pytest.raises(SampleError, match=r"'instances' are numbers of objects.*CutMix"):
        MixUp()(dated(), seeded())


class Learner(LightningModule):
    """Mixes as the module's docstring shows, and keeps what each step got."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.generator = MIXES[0], seeded()
        self.layer = torch.nn.Linear(2, 3)
        self.seen: dict[str, list[torch.Tensor]] = {"train": [], "val": []}

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return self.mix(batch, self.generator) if self.trainer.training else batch

    def training_step(self, batch, index):
        self.seen["train"].append(batch["label"])
        return F.cross_entropy(self.layer(batch["image"].mean((2, 3))), batch["label"])

    def validation_step(self, batch, index):
        self.seen["val"].append(batch["label"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Six(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {key: value[index] for key, value in labelled(6).items()}


def test_lightning_mixes_what_it_learns_from_and_not_what_it_checks_on():
    learner, loader = Learner(), DataLoader(Six(), 2)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(learner, loader, loader)
    assert [label.shape for label in learner.seen["train"]] == [(2, 3)] * 3
    assert [label.dtype for label in learner.seen["val"]] == [torch.int64] * 3


@pytest.mark.parametrize(
    ("mix", "change", "told"),
    [
        (CutMix(), {}, r"'label' would stay.*classes=\{'label': how many\}"),
        (MixUp(classes={"label": 3}), {}, "'mask' would stay"),
        (CutMix(classes={"label": 3, "crop": 4}), {}, "'crop' is declared but not in the batch"),
        (CutMix(classes={"label": 2}), {}, "'label' of 2 outputs holds 0 to 1 or 255, got 0 to 2"),
        (CutMix(classes={"label": 1}), {}, "'label' of 1 outputs holds 0 to 1 or 255"),
        (CutMix(classes={"label": 3}), {"label": torch.tensor([0, 1, -1])}, "got -1 to 1"),
        (CutMix(classes={"label": 3}), {"label": torch.rand(3, 4)}, r"\(b, 3, ...\), got \(3, 4\)"),
        (CutMix(values=["label"]), {}, "'label' of torch.int64 holds no numbers"),
        (CutMix(classes={"label": 3}), {"boxes": torch.rand(3, 5, 4)}, "'boxes'.*not on the grid"),
        (MIXES[1], {"image": torch.ones(3, 1, 8, 8).byte()}, "'image' of torch.uint8 cannot be bl"),
        (MIXES[1], {"ids": torch.ones(3, 8, 8).int()}, "'ids' of torch.int32 cannot be blended"),
    ],
)
def test_batches_that_would_teach_the_wrong_thing_are_refused(mix, change, told):
    with pytest.raises(SampleError, match=told):
        mix(labelled() | change, seeded())


@pytest.mark.parametrize("kind", [CutMix, MixUp])
@pytest.mark.parametrize(
    "setting", [{"alpha": 0}, {"alpha": float("nan")}, {"chance": 1.1}, {"classes": {"mask": 0}}]
)
def test_settings_that_make_no_sense_are_told(kind, setting):
    with pytest.raises(SampleError, match="alpha > 0, a chance from 0 to 1"):
        kind(**setting)
