"""From traces of 2 and 4 layers to the peak of each phase of a whole model."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig

from tipx.memory.architectures import load_architecture, with_layers
from tipx.memory.layout import Implementation, Layout, Sizes, step_sizes
from tipx.memory.steps import PredictedStep
from tipx.memory.tracker import Parts, Tracker
from tipx.models.head import gradient_checkpointing
from tipx.train.experiment import Experiment
from tipx.vocab.products import assume_fp32_products

FEW, MORE = 2, 4
PHASES = {
    "rollout": ("prefill", "decode"),
    "teacher": ("teacher", "teacher_logits"),
    "score": ("score", "statistics"),
    "train": ("forward", "loss", "layers", "embedding"),
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
}
"""As shown, and as traced. Kept states: the teacher's last hidden states, which scoring leaves for the loss."""


@dataclass(frozen=True)
class Prediction:
    """Bytes by phase and part, each phase at its highest moment."""

    implementation: Implementation
    sizes: Sizes
    phases: dict[str, Parts]

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
    return Prediction(implementation, sizes, phases)


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
            step = PredictedStep(self.exp, self.sizes, self.layout.device, teacher, student, tracker)
            if self.layout.rollout:
                step.rollout()
            with gradient_checkpointing(step.student, self.sizes.checkpointing):
                held = step.train() if self.implementation == "tiled" else step.train_materialised()
            step.update()
            del held
            return tracker.peaks

    def whole(self) -> dict[str, Parts]:
        """`trace` of the models with all their layers, read off the line through two shallow ones."""
        depth_t, depth_s = self.teacher.num_hidden_layers, self.student.num_hidden_layers
        if max(depth_t, depth_s) <= MORE:
            return self.trace(self.teacher, self.student)
        few, more = (self.trace(with_layers(self.teacher, n), with_layers(self.student, n)) for n in (FEW, MORE))
        return {name: extrapolate_depth(few[name], more[name], depth_t, depth_s, name) for name in few}

    def laid_out(self, section: str, traced: Parts) -> Parts:
        """A section's parts on one device of many."""
        parts = Counter(traced)
        parts["kept"] += (self.sizes.micro_batches - 1) * self.kept_bytes(section)
        if self.exp.model.teacher.offload == "cpu" and section not in (
            "teacher",
            "teacher_logits",
            "score",
            "statistics",
        ):
            # The loss still reads the teacher's hidden states through its LM head.
            parts["teacher"] = self.head_bytes("teacher") if section in PHASES["train"] else 0
        if self.layout.shard > 1:
            for part in ("teacher", "student", "gradients", "optimizer"):
                parts[part] //= self.layout.shard
            # What computes holds one unit whole: the LM head or embedding, which outweighs a layer or is near it.
            role = "teacher" if section.startswith("teacher") else "student"
            if section != "optimizer":
                parts[role] += self.head_bytes(role)
        elif self.layout.processes > 1:
            parts["gradients"] *= 2  # DistributedDataParallel averages them in buckets, which are a second copy
        return dict(parts)

    def kept_bytes(self, section: str) -> int:
        """What scoring keeps of one more micro-batch for the loss: tipx scores a whole step before it trains."""
        if self.implementation == "materialise" or section in PHASES["rollout"]:
            return 0
        states = self.teacher.hidden_size * getattr(torch, self.exp.model.teacher.dtype).itemsize
        known = 4 * torch.float32.itemsize if self.sizes.scored else 0
        return self.sizes.predicted * (states + known)

    def head_bytes(self, role: str) -> int:
        config = self.teacher if role == "teacher" else self.student
        source = self.exp.model.teacher if role == "teacher" else self.exp.model.student
        return int(config.vocab_size * config.hidden_size * getattr(torch, source.dtype).itemsize)


def extrapolate_depth(few: Parts, more: Parts, depth_t: int, depth_s: int, section: str) -> Parts:
    """Each part at full depth: the teacher's own with its layers, all else with the student's."""
    out = {}
    for part in few.keys() | more.keys():
        low, high = few.get(part, 0), more.get(part, 0)
        depth = depth_t if part == "teacher" or (section == "teacher" and part == "activations") else depth_s
        out[part] = max(0, round(low + (high - low) / (MORE - FEW) * (depth - FEW)))
    return out
