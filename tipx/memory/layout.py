"""How large one step is, and how it is laid on the machine."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from tipx.errors import ConfigError
from tipx.memory.shards import Sharing, find_sharing
from tipx.train.experiment import Experiment
from tipx.train.step_metrics import monitored

Implementation = Literal["tiled", "materialise"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the experiment leaves open; None is the experiment's own.

    `tokens` of every response and `prompt_tokens` of every prompt (None: the limits). `processes` share a step's
    sequences. `memory` is what the device has, bytes, where that is known.
    """

    tokens: int | None = None
    prompt_tokens: int | None = None
    processes: int | None = None
    device: Literal["cuda", "cpu"] = "cuda"
    rollout: bool = True
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One process's step. `kept` is response tokens of a micro-batch that the loss is on."""

    processes: int
    sharing: Sharing | None
    prompt: int
    tokens: int
    sequences: int
    rollout_batch: int
    micro_batch: int
    micro_batches: int
    kept: int
    checkpointing: bool
    scored: frozenset[str]

    @property
    def length(self) -> int:
        return self.prompt + self.tokens

    @property
    def predicted(self) -> int:
        """N, response tokens of a micro-batch."""
        return self.micro_batch * self.tokens


def step_sizes(exp: Experiment, layout: Layout) -> Sizes:
    """Sizes at the limits, or at the given lengths; raises ConfigError for what cannot be laid out."""
    total, processes = exp.loop.sequences, layout.processes or exp.loop.processes or 1
    if total % processes:
        key = "loop.processes=" if layout.processes is None else "--processes "
        raise ConfigError(
            f"{key}{processes}: loop.prompts * loop.rollouts = {total} sequences do not divide over them; "
            "choose a divisor, or another loop.prompts"
        )
    sequences = total // processes
    rollout: Any = exp.rollout
    tokens = layout.tokens or int(rollout.max_new_tokens)
    prompt = layout.prompt_tokens or exp.loop.max_prompt_tokens
    micro = min(exp.hardware.micro_batch, sequences)
    return Sizes(
        processes=processes,
        sharing=find_sharing(exp, processes),
        prompt=prompt,
        tokens=tokens,
        sequences=sequences,
        rollout_batch=min(int(getattr(rollout, "batch_size", sequences)), sequences),
        micro_batch=micro,
        micro_batches=math.ceil(sequences / micro),
        kept=max(1, round(kept_share(exp) * micro * tokens)),
        checkpointing=exp.hardware.gradient_checkpointing,
        scored=exp.selector.needs | (monitored(exp.selector) if exp.loop.monitor_every else frozenset()),
    )


def kept_share(exp: Experiment) -> float:
    """Share of tokens that the selector keeps; all of them where the tokens themselves decide how many."""
    return float(getattr(exp.selector.pick, "ratio", 1.0))
