"""How long a step and a whole run will take on a device: from the operators of models of 2 and 4 layers.

The step is that of `steps`, with the vocabulary in one tile: tiles change little of what is multiplied and moved. Time
is a straight line in layers. It is a prediction for responses at the limit of their length.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig

from tipx.errors import DataError
from tipx.evals.suite import suite_parts
from tipx.memory.architectures import load_architecture, with_layers
from tipx.memory.costs import CostTracker, OperatorCost
from tipx.memory.devices import DeviceSpec
from tipx.memory.layout import Layout, Sizes, step_sizes
from tipx.memory.predict import FEW, MORE, extrapolate_layers
from tipx.memory.steps import AimedVocab, PredictedStep
from tipx.models.head import gradient_checkpointing
from tipx.rollout.vllm import VLLMRollouts
from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import Row
from tipx.spec import spec
from tipx.train.experiment import Experiment
from tipx.vocab import Vocab
from tipx.vocab.products import assume_fp32_products
from tipx.vocab.vocab_pass import Tiles

Part = Literal["rollout", "score", "train"]
PARTS: dict[Part, tuple[str, ...]] = {
    "rollout": ("prefill", "decode"),
    "score": ("teacher", "student", "head scores"),
    "train": ("forward", "head loss", "backward", "optimizer"),
}
"""What each phase of a step, as a run measures it, consists of."""
SECTIONS = {
    "teacher": ("teacher",),
    "student": ("score",),
    "head scores": ("statistics",),
    "forward": ("forward",),
    "head loss": ("loss",),
    "backward": ("layers", "embedding"),
}
"""The traced sections of a part, which comes once in each micro-batch."""
HOUR = 3600


@dataclass(frozen=True)
class RunTime:
    """Seconds of the parts of one step, of one evaluation, and how many there are.

    `evaluation_s` is None where the benchmark's problems cannot be counted here. `measured_steps` are those of a run
    that the numbers were corrected by.
    """

    parts: dict[str, float]
    steps: int
    evaluation_s: float | None
    evaluations: int
    measured_steps: int = 0

    def phase(self, name: Part) -> float:
        """Seconds of a phase of one step."""
        return sum(self.parts[part] for part in PARTS[name])

    @property
    def step_s(self) -> float:
        return sum(self.parts.values())

    @property
    def evaluations_h(self) -> float:
        return self.evaluations * (self.evaluation_s or 0.0) / HOUR

    @property
    def run_h(self) -> float:
        """Hours of the whole run."""
        return self.steps * self.step_s / HOUR + self.evaluations_h

    def correct(self, rows: Sequence[Row]) -> "RunTime":
        """These times with each phase as long as in the lines of a run's metrics, if it has made steps already.

        The first step is left out, for it also loads libraries. A phase's parts keep their shares.
        """
        steps = [row for row in rows if row[keys.STEP] > 1]
        parts = dict(self.parts)
        for phase, names in PARTS.items():
            seconds = [row[keys.TIME.of(phase)] for row in steps if keys.TIME.of(phase) in row]
            if seconds and self.phase(phase):
                parts |= {name: self.parts[name] * fmean(seconds) / self.phase(phase) for name in names}
        evaluations = [row[keys.TIME.of("eval")] for row in rows if keys.TIME.of("eval") in row]
        evaluation_s = fmean(evaluations) if evaluations else self.evaluation_s
        return replace(self, parts=parts, evaluation_s=evaluation_s, measured_steps=len(steps))


@spec
class WholeVocab(AimedVocab):
    """The engine with one tile, which keeps its logits where the real tiles would."""

    def split_tiles(self, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        tiles = super().split_tiles(rows, size, device, keep=keep)
        return replace(tiles, rows=[slice(0, rows)], columns=[slice(0, size)])


class TimedStep(PredictedStep):
    """A step whose vocabulary is one tile, and whose responses are decoded at their first and at their last token."""

    @property
    def vocab(self) -> Vocab:
        own = self.exp.vocab
        return WholeVocab(chunk=own.chunk, budget_mib=own.budget_mib, compile=own.compile, target=self.device)

    @torch.no_grad()
    def rollout(self) -> None:
        with self.autocast():
            cache = self.prefill()
            self.decode(cache, self.sizes.prompt + 1, "decode first")
            self.decode(cache, self.sizes.length, "decode")

    @torch.no_grad()
    def count_elements(self) -> tuple[float, float]:
        """Of the student's weights, and of its cache for one token."""
        with self.autocast():
            cache = self.prefill()
        kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
        weights = sum(parameter.numel() for parameter in self.student.parameters())
        return weights, kept / (self.sizes.rollout_batch * self.sizes.prompt)


def predict_time(exp: Experiment, layout: Layout, device: DeviceSpec) -> RunTime:
    """Seconds on that device; raises ModelError for an unknown model and ConfigError for sizes that do not fit."""
    case = time_case(exp, layout, device)
    parts = case.rollout_parts(exp.rollout, case.sizes) if layout.rollout else {"prefill": 0.0, "decode": 0.0}
    loop = exp.loop
    evaluations = sum(loop.due(loop.eval_every, step) for step in range(loop.steps + 1))
    evaluations += loop.eval_last and not loop.due(loop.eval_every, loop.steps)
    problems = count_problems(exp) if evaluations else 0
    evaluation_s = 0.0 if problems == 0 else None if problems is None else case.evaluation_seconds(problems)
    return RunTime(parts | case.training_parts(), loop.steps, evaluation_s, evaluations)


def predict_server_rollout(exp: Experiment, layout: Layout, device: DeviceSpec) -> float:
    """Seconds of a step's rollouts if vLLM sampled them, all at once."""
    case = time_case(exp, layout, device)
    return sum(case.server_tokens(replace(case.sizes, rollout_batch=case.sizes.sequences)))


def time_case(exp: Experiment, layout: Layout, device: DeviceSpec) -> "TimeCase":
    """What is predicted: sizes, and the shapes of both models."""
    sizes = step_sizes(exp, replace(layout, device=device.kind))
    models = load_architecture("teacher", exp.model.teacher), load_architecture("student", exp.model.student)
    return TimeCase(exp, device, sizes, *models)


def count_problems(exp: Experiment) -> int | None:
    """Of the benchmark, as far as it is evaluated; None where it cannot be read here."""
    try:
        return sum(len(part.load(exp.eval.path)[: exp.eval.limit]) for part in suite_parts(exp.benchmark))
    except DataError:
        return None


@dataclass(frozen=True)
class TimeCase:
    """One prediction's inputs."""

    exp: Experiment
    device: DeviceSpec
    sizes: Sizes
    teacher: PretrainedConfig
    student: PretrainedConfig

    def training_parts(self) -> dict[str, float]:
        """Seconds of all that follows the rollouts. Monitored steps score more than others, so theirs are weighted."""
        every = self.exp.loop.monitor_every
        parts = self.trained(self.sizes)
        if every > 1 and self.exp.selector.needs != self.sizes.scored:
            plain = self.trained(replace(self.sizes, scored=self.exp.selector.needs))
            parts = {name: plain[name] + (value - plain[name]) / every for name, value in parts.items()}
        return parts

    def trained(self, sizes: Sizes) -> dict[str, float]:
        """Seconds of scoring and updating in a step of these sizes."""

        def run(step: TimedStep) -> None:
            with gradient_checkpointing(step.student, sizes.checkpointing):
                held = step.train()
            step.update()
            del held

        sections = self.whole(sizes, run)
        parts = {
            part: sizes.micro_batches * sum(sections.get(name, 0.0) for name in names)
            for part, names in SECTIONS.items()
        }
        return parts | {"optimizer": sections["optimizer"]}

    def rollout_parts(self, how: object, sizes: Sizes) -> dict[str, float]:
        """Seconds to sample `sizes.sequences` responses, batch by batch, as a rollout or an evaluation says."""
        batches = math.ceil(sizes.sequences / sizes.rollout_batch)
        served = isinstance(getattr(how, "backend", how), VLLMRollouts)
        prefill, decode = self.server_tokens(sizes) if served else self.eager_tokens(sizes)
        return {"prefill": batches * prefill, "decode": batches * decode}

    def eager_tokens(self, sizes: Sizes) -> tuple[float, float]:
        """Seconds of a batch's prompts, and of its tokens, by `generate`. The cache grows evenly."""
        sections = self.whole(sizes, TimedStep.rollout)
        return sections["prefill"], sizes.tokens * (sections["decode first"] + sections["decode"]) / 2

    def server_tokens(self, sizes: Sizes) -> tuple[float, float]:
        """The same by vLLM, in bfloat16: it reads every weight, and the cache once, and starts no operator singly.

        That all of a batch is sampled at once is more than a small GPU's memory may allow.
        """
        counts = [self.traced(n, sizes, TimedStep.count_elements)[0] for n in (FEW, MORE)]
        depths = [self.layers(n)[1] for n in (FEW, MORE)]
        weights, kept = (
            extrapolate_layers(low, high, depths, self.student.num_hidden_layers)
            for low, high in zip(*counts, strict=True)
        )
        b, length = sizes.rollout_batch, sizes.prompt + sizes.tokens / 2
        prompts = OperatorCost(half=True, flops=2 * weights * b * sizes.prompt, bytes=round(2 * weights))
        token = OperatorCost(half=True, flops=2 * weights * b, bytes=round(2 * (weights + kept * b * length)))
        return prompts.seconds(self.device), sizes.tokens * token.seconds(self.device)

    def evaluation_seconds(self, problems: int) -> float:
        """Of all answers to the benchmark."""
        how: Any = self.exp.eval.sampling
        answers = max(1, problems * (self.exp.eval.n + self.exp.eval.greedy))
        batch = min(int(getattr(how, "batch_size", answers)), answers)
        sizes = replace(self.sizes, sequences=answers, rollout_batch=batch, tokens=int(how.max_new_tokens))
        return sum(self.rollout_parts(how, sizes).values())

    def whole(self, sizes: Sizes, run: Callable[[TimedStep], Any]) -> dict[str, float]:
        """Seconds of each section of the models with all their layers."""
        (_, few), (_, more) = (self.traced(n, sizes, run) for n in (FEW, MORE))
        shallow, deep = self.layers(FEW), self.layers(MORE)
        seconds = {}
        for section in [name for name in few.costs if name not in ("", "setup")]:
            role = 0 if section == "teacher" else 1
            depth = (self.teacher, self.student)[role].num_hidden_layers
            ends = zip(few.seconds(section, self.device), more.seconds(section, self.device), strict=True)
            times = [extrapolate_layers(low, high, (shallow[role], deep[role]), depth) for low, high in ends]
            # A GPU is fed ahead of its work: the host's time is hidden by it, or hides it.
            seconds[section] = max(times) if self.device.kind == "cuda" else sum(times)
        return seconds

    def layers(self, most: int) -> tuple[int, int]:
        """Layers of teacher and student in a trace of at most so many."""
        return min(most, self.teacher.num_hidden_layers), min(most, self.student.num_hidden_layers)

    def traced(self, most: int, sizes: Sizes, run: Callable[[TimedStep], Any]) -> tuple[Any, CostTracker]:
        """What `run` gives of a step of shallow models, and the operators that it used."""
        layers_t, layers_s = self.layers(most)
        wide = True if self.device.kind == "cuda" else None
        with assume_fp32_products(wide), FakeTensorMode(), CostTracker() as tracker:
            models = with_layers(self.teacher, layers_t), with_layers(self.student, layers_s)
            return run(TimedStep(self.exp, sizes, self.device.kind, *models, tracker)), tracker
