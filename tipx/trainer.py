"""Scoring and updating the student: the two phases of a step that touch a model's weights."""

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from tipx.batching import MicroBatch, micro_batches
from tipx.divergences import TokenDivergence
from tipx.experiment import Experiment
from tipx.metrics import Update
from tipx.models import LoadedPair, body, lm_head
from tipx.types import Rollout, TokenStats, scatter
from tipx.vocab import TEACHER_ONLY, Hidden, Known, Vocab
from tipx.world import World

STATE = "trainer.pt"


class StudentLoss(nn.Module):
    """The student as accelerate wraps it: forward is the whole loss, so that gradients are synchronised by it."""

    def __init__(self, student: PreTrainedModel, rows: int, vocab: Vocab, divergence: TokenDivergence) -> None:
        super().__init__()
        self.student, self.rows, self.vocab, self.divergence = student, rows, vocab, divergence

    def forward(self, batch: MicroBatch, scored: "Scored", weights_N: Float[Tensor, " N"]) -> Float[Tensor, ""]:
        """Sum of weight * divergence over the micro-batch's kept tokens, nats."""
        kept_N = weights_N > 0
        student = Hidden(batch.hidden(body(self.student)), lm_head(self.student, self.rows))
        known = None if scored.known is None else scored.known[kept_N]
        return self.vocab.loss(student[kept_N], scored.teacher[kept_N], weights_N[kept_N], self.divergence, known)


@dataclass(frozen=True)
class Scored:
    """One micro-batch as scoring leaves it: the teacher's hidden states, and what the loss need not compute again."""

    teacher: Hidden
    known: Known | None


class Trainer:
    """Student, optimizer and schedule of a run, and the teacher that scores it."""

    def __init__(self, exp: Experiment, pair: LoadedPair, world: World) -> None:
        self.exp, self.pair, self.world = exp, pair, world
        self.bad_steps = 0
        optimizer = exp.optim.build(pair.student.parameters())
        self.schedule = exp.optim.build_schedule(optimizer, exp.loop.steps)
        # The schedule stays outside: accelerate would step it once per process.
        module = StudentLoss(pair.student, pair.rows, exp.vocab, exp.divergence)
        self.module, self.optimizer = world.accelerator.prepare(module, optimizer)

    def split(self, rollout: Rollout) -> Iterator[MicroBatch]:
        return micro_batches(rollout, self.exp.hardware.micro_batch)

    @torch.no_grad()
    def score(self, rollout: Rollout, needs: frozenset[str]) -> tuple[list[Scored], TokenStats]:
        """Each micro-batch scored, and the statistics asked for, of this process's rows (B, T)."""
        scored: list[Scored] = []
        parts: list[dict[str, Tensor]] = []
        for batch in self.split(rollout):
            teacher = Hidden(batch.hidden(body(self.pair.teacher)), lm_head(self.pair.teacher, self.pair.rows))
            student = None
            with self.world.accelerator.autocast():
                if needs - TEACHER_ONLY:
                    student = Hidden(batch.hidden(body(self.pair.student)), lm_head(self.pair.student, self.pair.rows))
                scores = self.exp.vocab.stats(student, teacher, batch.tokens_N, needs, self.exp.divergence)
            parts.append(scores.values)
            scored.append(Scored(teacher, scores.known))
        stats = {name: torch.cat([part[name] for part in parts]).float() for name in sorted(needs)}
        return scored, TokenStats(**{name: scatter(v_N, rollout.valid_BT) for name, v_N in stats.items()})

    def update(self, rollout: Rollout, scored: list[Scored], weights_BT: Float[Tensor, "B T"], count: float) -> Update:
        """One optimizer step on this process's rows. `count` normalises: one number for the step, all ranks."""
        total = torch.zeros((), device=self.world.device)
        batches = list(self.split(rollout))
        for i, (batch, done) in enumerate(zip(batches, scored, strict=True)):
            weights_N = weights_BT[batch.rows].to(self.world.device)[rollout.valid_BT[batch.rows]]
            last = i == len(batches) - 1
            with nullcontext() if last else self.world.accelerator.no_sync(self.module):
                loss = self.module(batch, done, weights_N) / count
                # Processes average their gradients, but the loss is a sum over all of them.
                self.world.accelerator.backward(loss * self.world.size)
            total += loss.detach()
        return self._step(float(self.world.total(total)))

    def _step(self, loss: float) -> Update:
        """Clip and apply, unless something is not finite."""
        norm = float(self.world.accelerator.clip_grad_norm_(self.module.parameters(), self.exp.optim.clip))
        lr = float(self.schedule.get_last_lr()[0])
        applied = bool(torch.isfinite(torch.tensor([loss, norm])).all())
        if applied:
            self.optimizer.step()
        else:
            self.bad_steps += 1
        self.optimizer.zero_grad()
        with warnings.catch_warnings():
            # torch takes a first step that is skipped for a mistake in the order of calls.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.schedule.step()
        return Update(loss, norm, lr, applied, self.bad_steps)

    def save(self, folder: Path) -> None:
        """A transformers folder (`from_pretrained` loads it) with optimizer, schedule and counters beside it."""
        self.pair.student.save_pretrained(folder)
        self.pair.tokenizer.save_pretrained(folder)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "bad_steps": self.bad_steps,
        }
        # Through Python's file: torch's own does not say why it could not be written.
        with (folder / STATE).open("wb") as handle:
            torch.save(state, handle)

    def load(self, folder: Path) -> None:
        """All but the weights, which `Pair.load` took from the same folder."""
        state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.bad_steps = state["bad_steps"]
