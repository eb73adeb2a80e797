"""From traces of 2 and 4 layers to the peak of each phase of a whole model."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig

from tipx.memory.architectures import load_architecture, with_layers
from tipx.memory.fakes import fake_model
from tipx.memory.layout import Implementation, Layout, Sizes, step_sizes
from tipx.memory.shards import Sharing, shard_shape
from tipx.memory.steps import PredictedStep
from tipx.memory.tracker import AWAY, Parts, Tracker
from tipx.models.head import gradient_checkpointing
from tipx.rollout.vllm import VLLMRollouts, samples_by_engine
from tipx.train.experiment import Experiment
from tipx.vocab.products import assume_fp32_products

FEW, MORE = 2, 4
FEW_SHARED, MORE_SHARED = 3, 5
"""With shared weights a layer's buffers last until the next one's, so that the least has a layer in between."""
PHASES = {
    "rollout": ("prefill", "decode", "engine"),
    "teacher": ("teacher", "teacher layers", "teacher_logits"),
    "score": ("score", "score layers", "statistics"),
    "train": ("forward", "forward layers", "loss", "layers", "first layer", "embedding"),
    "optimizer": ("optimizer",),
}
PARTS = {
    "weights": ("teacher", "student", "other"),
    "gradients": ("gradients",),
    "optimizer": ("optimizer",),
    "activations": ("activations",),
    "vocabulary": ("vocabulary",),
    "KV cache": ("cache",),
    "kept states": ("kept",),
    "engine": ("engine",),
}
"""As shown, and as traced. Kept states: the teacher's last hidden states, which scoring leaves for the loss. Engine:
what vLLM takes on that device."""


@dataclass(frozen=True)
class Prediction:
    """Bytes by phase and part, each phase at its highest moment, and those of the CPU where a GPU computes.

    `cpu`: `load`, of each process while it loads; `rest`, of each for what is offloaded; `save`, of the main process.
    """

    implementation: Implementation
    sizes: Sizes
    phases: dict[str, Parts]
    cpu: Parts

    @property
    def highest(self) -> str:
        """The phase with the peak."""
        return max(self.phases, key=lambda phase: sum(self.phases[phase].values()))

    @property
    def peak(self) -> int:
        return sum(self.phases[self.highest].values())


def predict_memory(exp: Experiment, layout: Layout, implementation: Implementation = "tiled") -> Prediction:
    """Peaks of one step; raises ModelError for an unknown model and ConfigError for sizes that do not fit."""
    sizes = step_sizes(exp, layout)
    teacher, student = load_architecture("teacher", exp.model.teacher), load_architecture("student", exp.model.student)
    case = MemoryCase(exp, layout, sizes, implementation, teacher, student)
    sections = case.whole()
    phases = {}
    for phase, names in PHASES.items():
        moments = [case.laid_out(name, sections[name]) for name in names if name in sections]
        if moments:
            highest = max(moments, key=lambda parts: sum(parts.values()))
            phases[phase] = {part: sum(highest.get(name, 0) for name in names) for part, names in PARTS.items()}
    rest = sections["optimizer"]
    cpu = {"load": case.loading_bytes(), "rest": sum(rest.get(name, 0) for name in AWAY), "save": case.saving_bytes()}
    if sizes.sharing is None and exp.model.teacher.offload == "cpu":
        cpu["rest"] = rest["teacher"] - case.head_bytes("teacher")
    return Prediction(implementation, sizes, phases, cpu)


@dataclass(frozen=True)
class MemoryCase:
    """One prediction's inputs."""

    exp: Experiment
    layout: Layout
    sizes: Sizes
    implementation: Implementation
    teacher: PretrainedConfig
    student: PretrainedConfig

    def trace(self, teacher: PretrainedConfig, student: PretrainedConfig) -> dict[str, Parts]:
        """Parts at the highest moment of each section."""
        wide = True if self.layout.device == "cuda" else None
        with assume_fp32_products(wide), FakeTensorMode(), Tracker() as tracker:
            step = PredictedStep(
                self.exp, self.sizes, self.layout.device, teacher, student, tracker, self.sizes.sharing
            )
            if self.layout.rollout and samples_by_engine(self.exp.rollout):
                tracker.begin("engine", "other")
            elif self.layout.rollout:
                step.rollout()
            with gradient_checkpointing(step.student, self.sizes.checkpointing):
                held = step.train() if self.implementation == "tiled" else step.train_materialised()
            step.update()
            del held
            return tracker.peaks

    def whole(self) -> dict[str, Parts]:
        """`trace` of the models with all their layers, read off the line through two shallow ones."""
        depth_t, depth_s = self.teacher.num_hidden_layers, self.student.num_hidden_layers
        depths = (FEW, MORE) if self.sizes.sharing is None else (FEW_SHARED, MORE_SHARED)
        if max(depth_t, depth_s) <= depths[1]:
            return self.trace(self.teacher, self.student)
        layers = [(min(n, depth_t), min(n, depth_s)) for n in depths]
        few, more = (self.trace(with_layers(self.teacher, t), with_layers(self.student, s)) for t, s in layers)
        traced = dict(zip(("teacher", "student"), zip(*layers, strict=True), strict=True))
        return {name: extrapolate_parts(few[name], more[name], name, traced, depth_t, depth_s) for name in few}

    def laid_out(self, section: str, traced: Parts) -> Parts:
        """A section's parts on one device of many."""
        parts = Counter({name: size for name, size in traced.items() if name not in AWAY})
        parts["kept"] += (self.sizes.micro_batches - 1) * self.kept_bytes(section)
        if self.engine_stays or section == "engine":
            parts["engine"] = self.engine_bytes()
        if self.sizes.sharing is not None:
            return dict(parts)
        if self.exp.model.teacher.offload == "cpu" and section not in PHASES["teacher"] + PHASES["score"]:
            # The loss still reads the teacher's hidden states through its LM head.
            parts["teacher"] = self.head_bytes("teacher") if section in PHASES["train"] else 0
        return dict(parts)

    @property
    def engine(self) -> VLLMRollouts | None:
        """The engine on this process's own device, if there is one."""
        how: Any = self.exp.rollout
        engine = getattr(how, "backend", how)
        there = self.layout.rollout and isinstance(engine, VLLMRollouts) and engine.mode == "colocate"
        return engine if there else None

    @property
    def engine_stays(self) -> bool:
        """Whether it keeps its memory while the student trains."""
        return self.engine is not None and not self.engine.sleep

    def engine_bytes(self) -> int:
        """Its share of the device's memory; where that is not known its weights alone, in bfloat16."""
        if self.engine is None:
            return 0
        if self.layout.memory is not None:
            return round(self.engine.gpu_memory_utilization * self.layout.memory)
        return 2 * count_weights(self.student)[0] // self.engine.tensor_parallel_size

    def kept_bytes(self, section: str) -> int:
        """What scoring keeps of one more micro-batch for the loss: tipx scores a whole step before it trains."""
        if self.implementation == "materialise" or section in PHASES["rollout"]:
            return 0
        states = self.teacher.hidden_size * getattr(torch, self.exp.model.teacher.dtype).itemsize
        known = 4 * torch.float32.itemsize if self.sizes.scored else 0
        return self.sizes.predicted * (states + known)

    def loading_bytes(self) -> int:
        """The larger model is read whole, in each process; of one that is shared out a slice of one weight."""
        sources = (self.exp.model.teacher, self.exp.model.student)
        sizes = [count_weights(config, self.sizes.sharing) for config in (self.teacher, self.student)]
        return max(
            getattr(torch, source.dtype).itemsize * (weights if self.sizes.sharing is None else largest)
            for source, (weights, largest) in zip(sources, sizes, strict=True)
        )

    def saving_bytes(self) -> int:
        """The student is whole on the CPU while it is written. Of adapters only these are, which is next to nothing."""
        if self.exp.model.student.adapters is not None:
            return 0
        return getattr(torch, self.exp.model.student.dtype).itemsize * count_weights(self.student)[0]

    def head_bytes(self, role: str) -> int:
        config = self.teacher if role == "teacher" else self.student
        source = self.exp.model.teacher if role == "teacher" else self.exp.model.student
        return int(config.vocab_size * config.hidden_size * getattr(torch, source.dtype).itemsize)


def extrapolate_parts(
    few: Parts, more: Parts, section: str, traced: Mapping[str, Sequence[int]], depth_t: int, depth_s: int
) -> Parts:
    """Each part at the depth of the whole models: the teacher's own with its layers, all else with the student's."""
    whole = {}
    for part in few.keys() | more.keys():
        by_teacher = part.startswith("teacher") or (section in PHASES["teacher"][:2] and part == "activations")
        layers, depth = (traced["teacher"], depth_t) if by_teacher else (traced["student"], depth_s)
        whole[part] = max(0, round(extrapolate_layers(few.get(part, 0), more.get(part, 0), layers, depth)))
    return whole


def extrapolate_layers(low: float, high: float, layers: Sequence[int], depth: int) -> float:
    """The value at `depth` on the line through those at two numbers of layers, which may be the same."""
    first, second = layers
    return high if first == second else low + (high - low) / (second - first) * (depth - first)


def count_weights(config: PretrainedConfig, sharing: Sharing | None = None) -> tuple[int, int]:
    """All weights of a model, and of the largest of them the part that a process has."""
    size, depth = 1 if sharing is None else sharing.size, config.num_hidden_layers
    counts, largest = dict[int, int](), 0
    for layers in {min(FEW, depth), min(MORE, depth)}:
        with FakeTensorMode():
            weights = list(fake_model(with_layers(config, layers), "float32").parameters())
        counts[layers] = sum(weight.numel() for weight in weights)
        largest = max(largest, *(math.prod(shard_shape(weight, size)) for weight in weights))
    ends = min(counts), max(counts)
    return round(extrapolate_layers(counts[ends[0]], counts[ends[1]], ends, depth)), largest
