"""From ragged token lists to tensors and back."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from tipx.types import Rollout, StopReason


def left_pad(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Int[Tensor, "R L"], Int[Tensor, "R L"]]:
    """Token ids and attention mask, padded on the left."""
    width = max(len(p) for p in prompts)
    ids = [[pad] * (width - len(p)) + list(p) for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def collect(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], eos: Sequence[int], device: torch.device
) -> Rollout:
    """A `Rollout` from raw generated ids: each is cut after its first end-of-sequence token, which is kept.

    Lengths come from that token's place, never from the padding id, which in some tokenizers is the same.
    """
    cut: list[list[int]] = []
    reasons: list[StopReason] = []
    for response in responses:
        end = next((t for t, token in enumerate(response) if token in eos), None)
        cut.append(list(response) if end is None else list(response[: end + 1]))
        reasons.append("length" if end is None else "eos")
    return from_lists(prompts, cut, reasons, device)


def from_lists(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    reasons: Sequence[StopReason],
    device: torch.device,
    masks: Sequence[Sequence[bool]] | None = None,
) -> Rollout:
    """Right-pads exact responses. `masks` say which of their tokens the student sampled; without them, all."""
    width = max((len(r) for r in responses), default=0)
    ids_BT = torch.tensor([list(r) + [0] * (width - len(r)) for r in responses], dtype=torch.long, device=device)
    lengths_B1 = torch.tensor([[len(r)] for r in responses], device=device)
    valid_BT = torch.arange(width, device=device)[None] < lengths_B1
    if masks is not None:
        own = [[*mask, *[False] * (width - len(mask))] for mask in masks]
        valid_BT = torch.tensor(own, dtype=torch.bool, device=device).reshape(valid_BT.shape)
    return Rollout(tuple(tuple(p) for p in prompts), ids_BT.reshape(len(responses), width), valid_BT, tuple(reasons))
