"""The optimizer and its schedule."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from tipx.spec import Beta, Fraction01, NonNegative, Positive, Rate, Whole, spec


@spec
class AdamW:
    """AdamW with gradients clipped to norm `clip`.

    Linear warm-up, then constant or a cosine down to `min_lr_ratio` of the peak.
    """

    lr: Rate
    betas: tuple[Beta, Beta]
    eps: Positive
    weight_decay: NonNegative
    clip: Positive
    schedule: Literal["cosine", "constant"]
    warmup_steps: Whole
    min_lr_ratio: Fraction01

    def build(self, parameters: Iterable[Parameter]) -> torch.optim.AdamW:
        return torch.optim.AdamW(parameters, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)

    def build_schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
        """One scheduler step an optimizer step; `steps` in total."""
        if self.schedule == "constant":
            return get_scheduler("constant_with_warmup", optimizer, num_warmup_steps=self.warmup_steps)
        return get_scheduler(
            "cosine_with_min_lr",
            optimizer,
            num_warmup_steps=self.warmup_steps,
            num_training_steps=steps,
            scheduler_specific_kwargs={"min_lr_rate": self.min_lr_ratio},
        )
