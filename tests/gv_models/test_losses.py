import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gv_models.losses import bce_dice

# smp adds its smoothing to the halved ratio (overlap / mean size): half as many pixels as ours
SMP_SMOOTH = 0.5


def batch(*shape_bhw):
    logits = torch.randn(shape_bhw[0], 1, *shape_bhw[1:], requires_grad=True)
    target = (torch.rand(shape_bhw) < 0.3).float()
    valid = torch.rand(shape_bhw) < 0.7
    return logits, target, valid


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([None, 0.5, 3.0]),
)
def test_is_the_sum_of_torch_bce_and_smp_dice_where_all_is_valid(shape_bhw, pos_weight):
    logits, target, _ = batch(*shape_bhw)
    target[0, 0, 0] = 1  # smp leaves out the Dice of a batch without objects
    weight = None if pos_weight is None else torch.tensor(pos_weight)
    bce = F.binary_cross_entropy_with_logits(logits[:, 0], target, pos_weight=weight)
    dice = smp.losses.DiceLoss("binary", smooth=SMP_SMOOTH)(logits, target[:, None])
    ours = bce_dice(logits, target, torch.ones(shape_bhw, dtype=torch.bool), pos_weight=pos_weight)
    torch.testing.assert_close(ours, bce + dice)


def test_ignored_pixels_are_those_that_smp_ignores():
    logits, target, valid = batch(3, 8, 8)
    ignored = torch.where(valid, target, torch.tensor(255.0))
    dice = smp.losses.DiceLoss("binary", smooth=SMP_SMOOTH, ignore_index=255)(
        logits, ignored[:, None]
    )
    bce = F.binary_cross_entropy_with_logits(logits[:, 0][valid], target[valid])
    torch.testing.assert_close(bce_dice(logits, target, valid), bce + dice)


def test_neither_value_nor_gradient_knows_what_lies_outside():
    logits, target, valid = batch(2, 8, 8)
    hidden = torch.where(valid, target, torch.nan)
    loss = bce_dice(logits, hidden, valid)
    loss.backward()
    assert loss.item() == bce_dice(logits, target, valid).item()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 0][~valid] == 0).all()


def test_is_zero_with_zero_gradients_when_nothing_is_valid():
    logits, target, valid = batch(2, 4, 4)
    loss = bce_dice(logits, target, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_closed_form_of_an_undecided_network():
    logits, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    loss = bce_dice(logits, target, torch.ones(1, 2, 2, dtype=torch.bool), smooth=1.0)
    # BCE of p = 0.5 is ln 2; Dice: overlap 1, sizes 2 and 2, one pixel of smoothing
    assert loss.item() == pytest.approx(0.693147 + 1 - (2 * 1 + 1) / (2 + 2 + 1), abs=1e-6)


def test_half_precision_is_reduced_in_single():
    logits, target, valid = batch(2, 300, 300)  # 90,000 pixels a band: sums beyond float16's 65,504
    loss = bce_dice(logits.half() + 20, target, valid)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, bce_dice(logits + 20, target, valid), rtol=1e-3, atol=1e-3)


def test_soft_targets_are_met_where_the_prediction_equals_them():
    target = torch.tensor([0.1, 0.3, 0.7, 1.0]).reshape(1, 2, 2)
    valid = torch.ones_like(target, dtype=torch.bool)
    logits = torch.logit(target, eps=1e-7)[:, None]
    least = bce_dice(logits, target, valid)
    for change in (-1.0, -0.1, 0.1, 1.0):
        assert bce_dice(logits + change, target, valid) > least
