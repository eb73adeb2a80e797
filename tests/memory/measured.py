"""What one step of training really holds on the CPU: real modules, real data, and torch's own record of allocations.

The profiler's memory events say when each block came and went; their running sum is what the allocator held. Phases are
marked by `record_function`, and the peak of a phase is the highest sum inside it.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.memory import materialise
from tipx.models.head import backbone, gradient_checkpointing, lm_head
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import from_lists
from tipx.train.batching import MicroBatch, micro_batches
from tipx.train.experiment import Experiment
from tipx.train.trainer import Trainer
from tipx.types import Rollout
from tipx.vocab import Hidden


@dataclass(frozen=True)
class Shape:
    """Sequences of one step, all of the same lengths but for the prompts, which are one token apart if `ragged`."""

    sequences: int
    prompt: int
    tokens: int
    ragged: bool = False

    def rollout(self) -> Rollout:
        prompts = [[1] * (self.prompt - (self.ragged and i % 2)) for i in range(self.sequences)]
        responses = [[2] * self.tokens] * self.sequences
        return from_lists(prompts, responses, ["length"] * self.sequences, torch.device("cpu"))


class Marked(Trainer):
    """Tells the profiler where training ends and the optimizer begins."""

    def _apply_gradients(self, loss: float) -> Any:
        with record_function("phase: optimizer"):
            return super()._apply_gradients(loss)


def real(config: PretrainedConfig, dtype: str) -> PreTrainedModel:
    made: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), attn_implementation="sdpa")
    return made.eval()


def pair_of(exp: Experiment, teacher: PretrainedConfig, student: PretrainedConfig) -> LoadedPair:
    torch.manual_seed(0)
    models = real(teacher, exp.model.teacher.dtype), real(student, exp.model.student.dtype)
    models[0].requires_grad_(requires_grad=False)
    return LoadedPair(*models, build_tokenizer(), min(teacher.vocab_size, student.vocab_size))


def tiled_step(exp: Experiment, pair: LoadedPair, rollout: Rollout) -> Callable[[], None]:
    """tipx's own rollouts and trainer."""
    trainer = Marked(exp, pair, exp.hardware.start(exp.loop.precision))
    valid_BT, noise = rollout.valid_BT, Noise(0).substream("rollout")
    request = RolloutRequest(prompts=rollout.prompt_ids, rows=range(len(rollout)), noise=noise)

    def step() -> None:
        if trainer.optimizer.state:  # the first step is there to make it
            with record_function("phase: rollout"), trainer.world.accelerator.autocast():
                exp.rollout(pair.student, pair.tokenizer, request)
        with record_function("phase: score"):
            scored, _ = trainer.score(rollout, exp.selector.needs | {"student_entropy", "reverse_kl", "loss"})
        keep = round(float(getattr(exp.selector.pick, "ratio", 1.0)) * valid_BT.shape[1])
        weights_BT = torch.zeros(valid_BT.shape)
        weights_BT[:, -keep:] = 1.0  # at the end, so that nothing can be trimmed
        with record_function("phase: train"):
            trainer.update(rollout, scored, weights_BT, float(weights_BT.sum()))

    return step


def materialised_step(exp: Experiment, pair: LoadedPair, rollout: Rollout) -> Callable[[], None]:
    """All logits, then the selection, with plain autograd."""
    optimizer = exp.optim.build(pair.student.parameters())
    bf16 = torch.autocast("cpu", torch.bfloat16, enabled=exp.loop.precision == "bf16")

    def loss_of(batch: MicroBatch) -> torch.Tensor:
        with torch.no_grad():
            teacher = Hidden(batch.hidden_states(backbone(pair.teacher)), lm_head(pair.teacher, pair.rows))
            teacher_NV = materialise.full_logits(teacher)
        del teacher
        with bf16:
            student = Hidden(batch.hidden_states(backbone(pair.student)), lm_head(pair.student, pair.rows))
            student_NV = materialise.full_logits(student)
            del student
            score_N = materialise.divergences(student_NV, teacher_NV)
            index_K = score_N.topk(round(float(getattr(exp.selector.pick, "ratio", 1.0)) * len(score_N))).indices
            student_NV, teacher_NV = (materialise.rows_of(x, index_K) for x in (student_NV, teacher_NV))
            return materialise.chunked_loss(student_NV, teacher_NV)

    def step() -> None:
        recomputed = gradient_checkpointing(pair.student, exp.hardware.gradient_checkpointing)
        with recomputed, record_function("phase: train"):
            for batch in micro_batches(rollout, rollout.valid_BT, exp.hardware.micro_batch):
                loss_of(batch).backward()
        with record_function("phase: optimizer"):
            torch.nn.utils.clip_grad_norm_(pair.student.parameters(), exp.optim.clip)
            optimizer.step()
            optimizer.zero_grad()

    return step


def peaks(prepare: Callable[[], Callable[[], None]]) -> dict[str, int]:
    """Bytes held at the highest moment of each phase of the second step: the first has no optimizer state yet."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        step = prepare()
        step()
        gc.collect()
        with record_function("second step"):
            step()
    events = prof.profiler.kineto_results.events()
    (second,) = [e for e in events if e.name() == "second step"]
    spans = {
        e.name().removeprefix("phase: "): (e.start_ns(), e.start_ns() + e.duration_ns())
        for e in events
        if e.name().startswith("phase: ") and e.start_ns() >= second.start_ns()
    }
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    found = dict.fromkeys(spans, 0)
    held = 0
    for at, size in memory:
        held += size
        inside = [name for name, (begin, end) in spans.items() if begin <= at <= end]
        for name in inside if "optimizer" not in inside else ["optimizer"]:
            found[name] = max(found[name], held)
    return found
