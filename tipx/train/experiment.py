"""What a run is. Nothing here says how it is done."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tipx.agents.loop import AgentRollouts
from tipx.data import PromptSource
from tipx.divergences import TokenDivergence
from tipx.evals import Benchmark, Evaluation
from tipx.evals.contamination import Guard
from tipx.evals.heldout import HeldOut
from tipx.evals.suite import Suite, check_answers
from tipx.models.pair import Pair
from tipx.processes import Hardware
from tipx.rollout import Rollouts
from tipx.selectors import Selector
from tipx.selectors.normalise import Normalise
from tipx.selectors.quadrant import Quadrants
from tipx.spec import Count, Few, Ratio, Seed, Whole, spec, within
from tipx.train.loggers import Logger
from tipx.train.optim import AdamW
from tipx.vocab import Vocab


@spec
class Loop:
    """How much is done in a step and how often the rest happens; an `_every` of 0 is never.

    A step uses `prompts` prompts with `rollouts` responses each. `denominator` is what the summed loss is divided by:
    kept weight (the paper's) or all valid tokens. `score_from` is where the student's hidden states for scoring come
    from: a forward pass of its own, or what the rollout recorded. `monitor_every` sets at which steps entropy,
    divergence and quadrant shares are computed even if the selector needs none of them. `eval_last` evaluates after the
    last step whatever `eval_every` says. After `max_bad_steps` steps in all whose loss was not finite the run stops.
    `processes` starts that many by `accelerate launch`; null takes part in those that are there.
    """

    steps: Count
    prompts: Count
    rollouts: Count
    max_prompt_tokens: Count
    denominator: Literal["kept", "valid"]
    precision: Literal["no", "bf16"]
    score_from: Literal["forward", "rollout"]
    monitor_every: Whole
    eval_every: Whole
    eval_last: bool
    save_every: Whole
    keep_checkpoints: Annotated[Count, Field(ge=2)]
    sample_every: Whole
    sample_count: Whole
    max_bad_steps: Whole
    processes: Few | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        within("prompts * rollouts", self.sequences, 10**6)
        return self

    @property
    def sequences(self) -> int:
        """Sequences a step."""
        return self.prompts * self.rollouts

    def due(self, every: int, step: int) -> bool:
        """Whether something done each `every` steps is done at `step`; always at the last."""
        return every > 0 and (step % every == 0 or step == self.steps)


@spec
class Experiment:
    """One run of on-policy distillation, as composed from `conf/train.yaml`."""

    seed: Seed
    ratio: Ratio
    model: Pair
    selector: Selector
    norm: Normalise
    quadrants: Quadrants
    divergence: TokenDivergence
    data: PromptSource
    rollout: Rollouts | AgentRollouts
    vocab: Vocab
    optim: AdamW
    loop: Loop
    benchmark: Benchmark | Suite
    guard: Guard
    eval: Evaluation
    heldout: HeldOut
    logger: Logger
    hardware: Hardware

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_answers(self.benchmark, self.eval)
        return self
