"""What an optimizer step does to weights: whether it can move them, whether it did, and whether they are still numbers.

Weights that are kept in a short type stand still where a step is smaller than half the distance to the next number.
Shares are of some ten thousand weights, taken at equal distances; of all of them in a model that has no more. Of a
sharded model they are of this process's shards.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.sharding import local_tensor

SAMPLED = 2**16
"""Weights that a share is measured on, at most twice as many."""


@torch.no_grad()
def sample_weights(parameters: Iterable[Tensor]) -> Float[Tensor, " W"]:
    """A copy of some of the weights, always the same ones."""
    parameters = [local_tensor(p) for p in parameters]
    stride = max(1, sum(p.numel() for p in parameters) // SAMPLED)
    return torch.cat([p.flatten()[::stride] for p in parameters])


def changed_share(before_W: Float[Tensor, " W"], after_W: Float[Tensor, " W"]) -> float:
    """The share of weights that are not what they were."""
    return int((before_W != after_W).count_nonzero()) / len(before_W)


def movable_share(weights_W: Float[Tensor, " W"], lr: float) -> float:
    """The share of weights that a step of AdamW can move in their type: its first moves each by `lr`."""
    return changed_share(weights_W, (weights_W.double() - lr).to(weights_W.dtype))


def are_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether every weight of this process is a number."""
    return bool(torch.nn.utils.get_total_norm([local_tensor(p) for p in parameters]).isfinite())
