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
    """How much is done in a step, and how often the rest happens. What is done at intervals is also done at the end."""

    steps: Count
    """Optimizer steps. The schedule of the learning rate ends with the last, so another number is another run."""
    prompts: Count
    """Prompts of a step. prompts * rollouts must divide over the processes."""
    rollouts: Count
    """Responses that are sampled for each prompt."""
    max_prompt_tokens: Count
    """Tokens of a prompt. Longer prompts are left out and counted, never cut."""
    denominator: Literal["kept", "valid"]
    """What the summed loss is divided by. kept: the kept tokens, as in the paper. valid: all response tokens, so
    that the gradient is smaller the fewer are kept."""
    precision: Literal["no", "bf16"]
    """no: everything in the weights' own dtype. bf16: forward and backward pass in bfloat16, weights in the
    student's own dtype."""
    score_from: Literal["forward", "rollout"]
    """Where the student's hidden states for scoring come from. forward: a pass of its own. rollout: what generation
    left, which saves that pass; vLLM leaves none."""
    monitor_every: Whole
    """Steps between two at which entropy, divergence and quadrant shares of all tokens are logged under every selector,
    by one more forward pass of the student where needed. Other steps log what they know. 0 is never. It changes no
    identity."""
    eval_every: Whole
    """Steps between two evaluations, the first of them before training. 0 is never."""
    eval_last: bool
    """true evaluates after the last step, also with eval_every=0."""
    save_every: Whole
    """Steps between two checkpoints. The last step is always saved. 0 saves only that."""
    keep_checkpoints: Annotated[Count, Field(ge=2)]
    """Newest checkpoints that stay on the disk; at least 2, so that a damaged one has another before it."""
    sample_every: Whole
    """Steps between two sampled steps, whose statistics and rollouts are saved for `tipx inspect`. They take one
    more forward pass. 0 is never."""
    sample_count: Whole
    """Rollouts of a sampled step that are saved with text and the likeliest tokens of both models. Statistics are of
    all rollouts."""
    max_bad_steps: Whole
    """Steps in all whose loss or gradient may be not finite, and whose update is skipped. After one more the run
    stops."""
    processes: Few | None
    """Processes that `accelerate launch` is to start, data-parallel. null takes part in those that are there. It
    changes no identity."""

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
    """Seed of prompt order, sampling and random picks. Runs that differ in it alone are repetitions."""
    ratio: Ratio
    """Share of tokens kept, for selectors with a budget. The selector full and the quadrant masks do not read it."""
    model: Pair
    """Teacher, student and prompt template. A preset also brings the data, lengths, batch and learning rate of its
    pair."""
    selector: Selector
    """The rule that says which tokens are trained on."""
    norm: Normalise
    """How entropy and divergence become numbers from 0 to 1, for the scores that combine them."""
    quadrants: Quadrants
    """Thresholds between low and high entropy and divergence, for quadrant masks and for the log."""
    divergence: TokenDivergence
    """The divergence that is minimised on kept tokens."""
    data: PromptSource
    """The training prompts."""
    rollout: Rollouts | AgentRollouts
    """How responses, or trajectories of agents, are sampled while training."""
    vocab: Vocab
    """Tiles of the LM head. They change speed and memory, not the result."""
    optim: AdamW
    """Optimizer and learning rate."""
    loop: Loop
    """Steps, batch, and what happens how often."""
    benchmark: Benchmark | Suite
    """The problems that the student is evaluated on."""
    guard: Guard
    """What happens to training prompts that are problems of a benchmark."""
    eval: Evaluation
    """How the benchmark is answered while training."""
    heldout: HeldOut
    """Texts of somebody else on which perplexity and divergence are measured."""
    logger: Logger
    """Where numbers go besides the run directory."""
    hardware: Hardware
    """Device, batch of a forward pass, memory against time. It changes no identity."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_answers(self.benchmark, self.eval)
        return self
