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
    """AdamW with clipped gradients: linear warm-up, then constant or a cosine."""

    lr: Rate
    """Peak learning rate. At 1e-6 weights in bfloat16 hardly move; keep the student in float32."""
    betas: tuple[Beta, Beta]
    """Decay of the running means of gradient and squared gradient."""
    eps: Positive
    """Added to the denominator of the update."""
    weight_decay: NonNegative
    """Decoupled weight decay, multiplied by the learning rate. 0 is none."""
    clip: Positive
    """Largest norm of the gradient; a longer one is scaled down to it."""
    schedule: Literal["cosine", "constant"]
    """Learning rate after the warm-up. cosine: down to min_lr_ratio of the peak at the last step. constant: the
    peak."""
    warmup_steps: Whole
    """Steps in which the learning rate rises linearly to its peak. 0 starts at the peak."""
    min_lr_ratio: Fraction01
    """Share of the peak at which a cosine ends. 0 ends at zero."""

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
