"""The keys of metrics.jsonl: how every number of a step is called, what it means, and in which unit it is.

The one place that spells them. Writers name their numbers by the constants below, readers look values up by them, and
docs/reference/metrics.md is made from them (`make docs`). A key is `group/name`. A name ends in its unit where that is
not plain: `_frac` is a share from 0 to 1, `_s` seconds, `_mib` MiB.

A key that is renamed keeps its old name in `was`. Lines of older runs are translated where they are read
(`with_current_keys`), and so is a key that a user types (`current`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class MetricUnit:
    """What a number counts, and between which bounds it lies; None is no bound."""

    text: str
    low: float | None = 0
    high: float | None = None

    @property
    def range(self) -> str:
        """As it is written in the reference."""
        if self.low is None:
            return "any"
        return f">= {self.low}" if self.high is None else f"{self.low} to {self.high}".lower()


FRACTION = MetricUnit("fraction", 0, 1)
TOKENS = MetricUnit("tokens")
SEQUENCES = MetricUnit("trajectories")
STEPS = MetricUnit("steps")
SECONDS = MetricUnit("seconds")
MIB = MetricUnit("MiB")
NATS = MetricUnit("nats a token")
DIFFERENCE = MetricUnit("nats a token", low=None)
PLAIN = MetricUnit("number")
AS_SCORED = MetricUnit("as scored", low=None)

EVERY_LINE = "every line"
EVERY_STEP = "every step"
MONITORED = "monitored steps"
ENGINE = "monitored steps of vLLM rollouts"
AHEAD = "every step of rollouts ahead"
AGENTS = "every step of agents"
EVALUATED = "evaluations"
MEASURED = "held-out measurements"
TIMED = "where the phase ran"

TRAINING = ("rollout", "score", "select", "train")
"""The phases of a training step, in their order."""
PHASES = (*TRAINING, "monitor", "sample", "eval", "heldout")
QUADRANTS = ("q1", "q2", "q3", "q4")
PARTS = ("kept", "dropped", "all")


@dataclass(frozen=True)
class MetricKey:
    """A key, or a family of keys: `select/entropy_<part>` is one for each of `parts`; () is for any text.

    `when` says which lines have it. `was` is its name in older files.
    """

    name: str
    unit: MetricUnit
    when: str
    meaning: str
    parts: tuple[str, ...] = ()
    was: str | None = None

    def of(self, part: object) -> str:
        """The key of a part: `select/entropy_kept`."""
        return filled(self.name, part)

    def part_of(self, key: str) -> str | None:
        """The part that a key of this family is of; None for any other key."""
        head, found, tail = split(self.name)
        if not (found and key.startswith(head) and key.endswith(tail) and len(key) > len(head) + len(tail)):
            return None
        part = key[len(head) : len(key) - len(tail)]
        return part if part in self.parts or not self.parts else None


@cache
def split(name: str) -> tuple[str, str, str]:
    """What stands before `<part>`, the part, and what stands after it; the last two are empty for a plain key."""
    head, _, rest = name.partition("<")
    part, _, tail = rest.partition(">")
    return head, part, tail


def filled(name: str, part: object) -> str:
    head, _, tail = split(name)
    return f"{head}{part}{tail}"


DECLARED: list[MetricKey] = []
"""Every key and family, in the order of the reference."""


def key(name: str, unit: MetricUnit, when: str, meaning: str, *, was: str | None = None) -> str:
    """Declares a key; returns its name."""
    return family(name, unit, when, meaning, was=was).name


def family(
    name: str, unit: MetricUnit, when: str, meaning: str, *, parts: tuple[str, ...] = (), was: str | None = None
) -> MetricKey:
    """Declares a family of keys."""
    DECLARED.append(MetricKey(name, unit, when, meaning, parts, was))
    return DECLARED[-1]


# --- the keys --------------------------------------------------------------------------------------------------------

STEP = key("step", STEPS, EVERY_LINE, "Number of the optimizer step; 0 is before training")

LOSS = key("train/loss", NATS, EVERY_STEP, "The trained divergence, mean over kept tokens (or over `loop.denominator`)")
GRAD_NORM = key("train/grad_norm", PLAIN, EVERY_STEP, "Norm of the gradient before clipping")
LR = key("train/lr", PLAIN, EVERY_STEP, "Learning rate of this step")
APPLIED = key(
    "train/applied",
    MetricUnit("flag", low=False, high=True),
    EVERY_STEP,
    "Whether the weights were updated; false where loss or gradient was not finite",
)
BAD_STEPS = key("train/bad_steps", STEPS, EVERY_STEP, "Steps so far whose update was skipped")
WEIGHTS_CHANGED_FRAC = key(
    "train/weights_changed_frac",
    FRACTION,
    EVERY_STEP,
    "Share of the weights that are another number after the step, by a sample of them",
    was="train/weights_changed",
)

KEPT_TOKENS = key("select/kept_tokens", TOKENS, EVERY_STEP, "Tokens that the selector kept")
KEPT_FRAC = key("select/kept_frac", FRACTION, EVERY_STEP, "Share of the sampled tokens that the selector kept")
KEPT_LOSS_FRAC = key(
    "select/kept_loss_frac",
    FRACTION,
    MONITORED,
    "Share of the summed divergence of all tokens that lies on kept ones",
    was="select/loss_mass_kept",
)
ENTROPY = family("select/entropy_<part>", NATS, MONITORED, "Mean entropy of the student over these tokens", parts=PARTS)
REVERSE_KL = family(
    "select/reverse_kl_<part>",
    NATS,
    MONITORED,
    "Mean KL(student, teacher) over these tokens, whatever divergence is trained",
    parts=PARTS,
    was="select/div_<part>",
)

QUADRANT_FRAC = family(
    "quadrant/<quadrant>_frac",
    FRACTION,
    MONITORED,
    "Share of the sampled tokens that are of this quadrant",
    parts=QUADRANTS,
    was="tokens/<quadrant>",
)
QUADRANT_FRAC_OF_KEPT = family(
    "quadrant/<quadrant>_frac_of_kept",
    FRACTION,
    MONITORED,
    "Share of the kept tokens that are of this quadrant",
    parts=QUADRANTS,
    was="select/<quadrant>_of_kept",
)

SAMPLED_TOKENS = key("rollout/tokens", TOKENS, EVERY_STEP, "Tokens that the student sampled", was="tokens/n")
MEAN_LENGTH = key("rollout/mean_length", TOKENS, EVERY_STEP, "Sampled tokens of a response (or trajectory), mean")
MAX_LENGTH = key("rollout/max_length", TOKENS, EVERY_STEP, "Sampled tokens of the longest one")
TRUNCATED_FRAC = key(
    "rollout/truncated_frac",
    FRACTION,
    EVERY_STEP,
    "Share of responses (or trajectories) that a limit ended",
    was="rollout/clipped_ratio",
)
MISMATCH_KL = key(
    "rollout/mismatch_kl",
    DIFFERENCE,
    ENGINE,
    "Estimate of KL(sampling engine, trainer): mean difference of their log-probabilities of the sampled tokens. "
    "The engine's are of the weights that sampled, which are `rollout/staleness` updates older than the trainer's",
)
MISMATCH_ABS_MEAN = key(
    "rollout/mismatch_abs_mean", NATS, ENGINE, "The same difference without its sign, mean", was="rollout/mismatch_mean"
)
MISMATCH_ABS_MAX = key(
    "rollout/mismatch_abs_max",
    NATS,
    ENGINE,
    "The same difference without its sign, largest",
    was="rollout/mismatch_max",
)
STALENESS = key(
    "rollout/staleness",
    MetricUnit("updates"),
    AHEAD,
    "Updates between the weights that sampled the batch and those that are trained on it: 0 or 1",
)

PUSH_GAP = key(
    "rollout/push_gap",
    NATS,
    "every step of vLLM rollouts",
    "Distance of the engine's log-probabilities of fixed tokens from the trainer's after the last push, mean; the run "
    "stops where it is above `rollout.tolerance`",
)

AGENT_SCORE = key("agent/score", AS_SCORED, AGENTS, "The score that counts, mean over trajectories")
AGENT_COUNT = family(
    "agent/<count>",
    MetricUnit("number a trajectory"),
    AGENTS,
    "Turns, tool calls, malformed and refused calls, shortened results: mean over trajectories",
    parts=("turns", "calls", "malformed", "refused", "shortened"),
)
AGENT_ENDED_FRAC = family(
    "agent/ended_<reason>_frac",
    FRACTION,
    AGENTS,
    "Share of trajectories that ended so: by themselves, or at the limit of a turn, of tokens, of the text, of turns",
    parts=("eos", "length", "tokens", "context", "turns"),
    was="agent/ended_<reason>",
)
AGENT_EMPTY = key(
    "agent/empty_trajectories",
    SEQUENCES,
    AGENTS,
    "Trajectories without a sampled token, which nothing is trained on",
    was="agent/empty",
)
AGENT = family("agent/<score>", AS_SCORED, AGENTS, "Every other score of the tasks, mean over trajectories")

EVAL_MEAN = family(
    "eval/<benchmark>/mean", FRACTION, EVALUATED, "Accuracy (or an agent's score), mean over problems and samples"
)
EVAL_MEAN_SE = family(
    "eval/<benchmark>/mean_se", FRACTION, EVALUATED, "Its standard error over problems; null for one problem"
)
EVAL_GREEDY = family("eval/<benchmark>/greedy", FRACTION, EVALUATED, "Accuracy of greedy answers")

HELDOUT_TEXTS = key("heldout/texts", MetricUnit("texts"), MEASURED, "Texts that were measured")
HELDOUT_TOKENS = key("heldout/tokens", TOKENS, MEASURED, "Their tokens that were scored")
PERPLEXITY = key("heldout/perplexity", MetricUnit("number", 1), MEASURED, "Perplexity of the student")
TEACHER_PERPLEXITY = key("heldout/teacher_perplexity", MetricUnit("number", 1), MEASURED, "Perplexity of the teacher")
HELDOUT_REVERSE_KL = key("heldout/reverse_kl", NATS, MEASURED, "KL(student, teacher), mean over tokens")
HELDOUT_FORWARD_KL = key("heldout/forward_kl", NATS, MEASURED, "KL(teacher, student), mean over tokens")
HELDOUT_SE = family(
    "heldout/<measure>_se",
    MetricUnit("as the measure"),
    MEASURED,
    "Standard error of a measure over texts; null for one text",
    parts=("perplexity", "teacher_perplexity", "reverse_kl", "forward_kl"),
)

TOKENS_PER_S = key(
    "perf/tokens_per_s",
    MetricUnit("tokens a second"),
    EVERY_STEP,
    f"Sampled tokens divided by the time of the phases {', '.join(TRAINING)}",
)
IMBALANCE = family(
    "perf/imbalance_<when>",
    MetricUnit("share of the mean"),
    "every step of several processes",
    "By how much the process with the most tokens (prompts and responses) exceeds the mean of the processes, as they "
    "sampled them, and as they score and train on them",
    parts=("sampled", "trained"),
)
TIME = family(
    "time/<phase>_s",
    SECONDS,
    TIMED,
    "Wall time of a phase, of the main process",
    parts=PHASES,
    was="time/<phase>",
)
AHEAD_S = key(
    "time/ahead_s",
    SECONDS,
    "steps of rollouts ahead whose batch was sampled since the run was started",
    "Wall time of sampling this batch; `time/rollout_s` is how long the trainer waited for it",
)
MEMORY = family(
    "memory/<phase>_mib",
    MIB,
    TIMED,
    "Peak memory in a phase, of the main process: its GPU's allocator, or its resident memory on the CPU",
    parts=PHASES,
    was="memory/<phase>",
)

EVAL, HELDOUT = "eval", "heldout"
"""Groups that hold an evaluation's numbers."""


# --- looking keys up -------------------------------------------------------------------------------------------------


def group(key: str) -> str:
    """`select` of `select/kept_frac`."""
    return key.partition("/")[0]


def is_key(name: str) -> bool:
    """Whether a user means a key of metrics.jsonl: only these have a slash."""
    return "/" in name


def evaluation(benchmark: str, name: str) -> str:
    """The key of a number of a benchmark's result."""
    return f"{EVAL}/{benchmark}/{name}"


def held_out(name: str) -> str:
    """The key of a number of a result on held-out texts."""
    return f"{HELDOUT}/{name}"


def standard_error(key: str) -> str:
    """The key of a value's standard error."""
    return f"{key}_se"


RENAMED = {
    filled(one.was, part): one.of(part) for one in DECLARED if one.was is not None for part in (one.parts or ("",))
}
"""From the old name of a key to its name."""


def current(key: str) -> str:
    """The name of a key that may be an old one."""
    return RENAMED.get(key, key)


def with_current_keys(row: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics with the names of today, in its order: itself if it has them.

    A key whose new name is there too stays as it is.
    """
    if RENAMED.keys().isdisjoint(row):
        return row
    return {key if current(key) in row else current(key): value for key, value in row.items()}
