"""Batch norms folded into the convolutions before them: the same function, computed faster.

In evaluation a batch norm multiplies and shifts each channel by constants, which the convolution's
weights and bias can do as well (Jacob et al. 2018, arXiv:1712.05877, section 3.2).
"""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded[N: nn.Module](network: N, example: Tensor) -> N:
    """A copy of a network for inference, without the batch norms that follow a convolution.

    Which norm follows which convolution is seen while the network works on the example. Those that
    work more than once stay as they are; a convolution whose result is also used elsewhere must not
    be followed by a norm.

    Args:
        network: In evaluation mode; it is not changed. Activations that timm keeps inside its batch
            norms stay.
        example: An image the network takes.

    Returns:
        The copy; its outputs differ by rounding.
    """
    with torch.inference_mode(mode=False), torch.no_grad():  # whatever the caller is in
        network = copy.deepcopy(network).requires_grad_(False)
        for convolution, norm in _pairs(network, example.clone()):
            fused = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = fused.weight, fused.bias
            _replace(network, norm, nn.Sequential(*norm.children()))
    return network


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms that get their results."""
    # the tensors live, so their ids are theirs; a version tells of changes in place
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    calls: Counter[nn.Module] = Counter()

    def watch(module: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made[id(result)] = module, result, result._version
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in made:
            convolution, _, version = made[id(given[0])]
            if given[0]._version == version:
                pairs.append((convolution, module))

    hooks = [module.register_forward_hook(watch) for module in network.modules()]
    network(example)
    for hook in hooks:
        hook.remove()
    followed = Counter(convolution for convolution, _ in pairs)
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if calls[convolution] == calls[norm] == followed[convolution] == 1
    ]


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)
