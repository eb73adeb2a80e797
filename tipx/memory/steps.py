"""One training step on models without data: the sections of a step, in the order in which they come.

Axes: N response tokens of a micro-batch, K those kept, D hidden size. Everything is made inside a `FakeTensorMode` and
a `Tracker` that the caller entered.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from tipx.adapters import trained_parameters
from tipx.memory import materialise
from tipx.memory.fakes import fake_ids, fake_model, grow_cache, iterate_storages, pad_vocabulary, replace_kernels
from tipx.memory.layout import Sizes
from tipx.memory.shards import FakeShards, Sharing
from tipx.memory.tracker import Tracker
from tipx.models.head import backbone, lm_head
from tipx.rollout.cache import Architecture
from tipx.rollout.hf import HFRollouts
from tipx.spec import spec
from tipx.train.experiment import Experiment
from tipx.vocab import AUTO_MIB_ELSEWHERE, STUDENT_ONLY, TEACHER_ONLY, ForwardSums, Hidden, Vocab
from tipx.vocab.vocab_pass import Tiles

Held = tuple[object, ...]


@spec
class AimedVocab(Vocab):
    """The engine with the tiles that it would take on another device."""

    target: Literal["cuda", "cpu"]
    """The device whose tile sizes are taken."""

    def split_tiles(self, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        """The tiles, with kernels that fake tensors can run."""
        tiles = replace_kernels(super().split_tiles(rows, size, torch.device(self.target), keep=keep))
        # Full tiles are alike, and the first dies while the second is made: two have the peak of many.
        return tiles if tiles.keeps else replace(tiles, columns=tiles.columns[:2])

    def find_budget(self, device: torch.device) -> int:
        """As on a device with so much memory that nothing else limits it."""
        if self.budget_mib == "auto" and device.type != "cpu":
            return AUTO_MIB_ELSEWHERE
        return super().find_budget(device)


@dataclass
class PredictedStep:
    """Teacher, student and optimizer of a run, and the phases of one step with each tensor counted."""

    exp: Experiment
    sizes: Sizes
    device: Literal["cuda", "cpu"]
    teacher_config: PretrainedConfig
    student_config: PretrainedConfig
    tracker: Tracker
    sharing: Sharing | None = None
    teacher: PreTrainedModel = field(init=False)
    student: PreTrainedModel = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        """Models, and the optimizer's state as it is after the first step."""
        self.tracker.begin("setup", "other")
        self.teacher = fake_model(self.teacher_config, self.exp.model.teacher.dtype).requires_grad_(requires_grad=False)
        self.student = fake_model(self.student_config, self.exp.model.student.dtype, self.exp.model.student.adapters)
        self.tracker.tag(iterate_storages(self.teacher), "teacher")
        self.tracker.tag(iterate_storages(self.student), "student")
        self.share_weights()
        self.optimizer = self.exp.optim.build(self.trained)
        for group in self.optimizer.param_groups:
            # What torch chooses by itself: on CUDA all parameters at once, with temporaries for all of them.
            group["foreach"] = self.device == "cuda"
        self.fill_gradients()
        self.optimizer.step()
        states = [t for state in self.optimizer.state.values() for t in state.values()]
        self.tracker.tag([t for t in states if isinstance(t, Tensor)], self.rests_as("optimizer"))
        self.optimizer.zero_grad()

    def share_weights(self) -> None:
        """What this process has of models that are shared out. The head of the teacher stays whole between steps."""
        self.shards: dict[PreTrainedModel, FakeShards] = {}
        self.buckets: list[Tensor] = []
        if self.sharing is None:
            if self.sizes.processes > 1:
                # DistributedDataParallel averages gradients in a second copy of them, which it keeps.
                self.buckets = [torch.empty_like(parameter) for parameter in self.trained]
                self.tracker.tag(self.buckets, "gradients")
            return
        on_gpu, roles = self.device == "cuda", (("teacher", self.teacher), ("student", self.student))
        for (role, model), away in zip(roles, (self.sharing.teacher_away, self.sharing.student_away), strict=True):
            self.shards[model] = FakeShards(model, self.sharing, role, self.tracker, away=away and on_gpu)
        with self.inside(self.teacher, "setup"):
            for group in () if self.sharing.reshard else self.shards[self.teacher].groups:
                self.shards[self.teacher].gather(group, forward=True)

    def inside(self, of: PreTrainedModel, section: str) -> AbstractContextManager[None]:
        """A forward pass of the whole model, as `tipx.sharding.run_inside` makes it."""
        self.tracker.begin(section, "activations")
        return self.shards[of].inside() if of in self.shards else nullcontext()

    def rests_as(self, part: str) -> str:
        """What gradients and the optimizer's state count as between the phases."""
        return self.shards[self.student].rests_as(part) if self.shards else part

    @property
    def trained(self) -> list[nn.Parameter]:
        """What the optimizer changes: the student's weights, or this process's shards of them."""
        if self.student in self.shards:
            return self.shards[self.student].trained_shards()
        return trained_parameters(self.student)

    @cached_property
    def vocab(self) -> Vocab:
        own = self.exp.vocab
        return AimedVocab(chunk=own.chunk, budget_mib=own.budget_mib, compile=own.compile, target=self.device)

    @property
    def rows(self) -> int:
        """Vocabulary rows that both models have."""
        return min(int(config.vocab_size) for config in (self.teacher_config, self.student_config))

    def autocast(self) -> AbstractContextManager[Any]:
        narrow = self.sharing is not None and self.sharing.dtype is not None
        on = self.exp.loop.precision == "bf16" and not narrow
        return torch.autocast("cpu", torch.bfloat16) if on else nullcontext()

    def fill_gradients(self) -> None:
        """Gradients as an earlier micro-batch leaves them."""
        self.tracker.begin("setup", "other")
        for parameter in self.trained:
            parameter.grad = torch.empty_like(parameter)
        self.tracker.tag([p.grad for p in self.trained], self.rests_as("gradients"))

    @torch.no_grad()
    def rollout(self) -> None:
        """Prompts, then the last token of the responses, when the cache is longest."""
        self.tracker.begin("setup", "other")
        whole = self.shards[self.student].all_whole() if self.shards else nullcontext()
        with whole, self.autocast():
            cache = self.prefill()
            self.decode(cache, self.sizes.length, "decode")

    def prefill(self) -> Any:
        """The cache of the prompts."""
        self.tracker.begin("prefill", "activations")
        b, length = self.sizes.rollout_batch, self.sizes.prompt
        prompt = {"input_ids": fake_ids(b, length), "attention_mask": torch.ones(b, length, dtype=torch.long)}
        student = pad_vocabulary(self.student, b)
        own = Architecture(student)
        begun = {own.cache_name: own.make_cache()} if own.selectable else {}
        return student(**prompt, **begun, use_cache=True, logits_to_keep=1).past_key_values

    def decode(self, cache: Any, length: int, section: str) -> None:
        """Sample the token that is the last of `length`."""
        b, student = self.sizes.rollout_batch, pad_vocabulary(self.student, self.sizes.rollout_batch)
        mask_BL = torch.ones(b, length, dtype=torch.long)
        self.tracker.begin("setup", "other")
        grow_cache(cache, length - 1, self.tracker)
        self.tracker.begin(section, "activations")
        last = {"input_ids": fake_ids(b, 1), "attention_mask": mask_BL, "past_key_values": cache}
        logits_BV = student(**last, use_cache=True, logits_to_keep=1).logits[:, -1]
        if isinstance(self.exp.rollout, HFRollouts):
            # How many tokens top-k leaves is in the data, and without it there are more.
            replace(self.exp.rollout, top_k=0).choose(logits_BV, torch.empty(b, dtype=torch.double))

    def hidden(self, of: PreTrainedModel, section: str) -> Hidden:
        """Last hidden states at the N response positions."""
        self.tracker.begin(section, "activations")
        b, length = self.sizes.micro_batch, self.sizes.length
        batch = {"input_ids": fake_ids(b, length), "attention_mask": torch.ones(b, length, dtype=torch.long)}
        out = backbone(pad_vocabulary(of, b))(**batch, use_cache=False)
        states_ND = out.last_hidden_state.flatten(0, 1)[torch.zeros(self.sizes.predicted, dtype=torch.long)]
        return Hidden(states_ND, lm_head(of, self.rows))

    @torch.no_grad()
    def score(self) -> tuple[Hidden, ForwardSums | None]:
        """The teacher's hidden states, and what scoring leaves for the loss."""
        with self.inside(self.teacher, "teacher"):
            teacher = self.hidden(self.teacher, "teacher")
        self.tracker.tag([teacher.states_ND], "kept")
        tokens_N, student = torch.zeros(self.sizes.predicted, dtype=torch.long), None
        inside = self.inside(self.student, "score") if self.sizes.scored - TEACHER_ONLY else nullcontext()
        with self.autocast(), inside:
            if self.sizes.scored - TEACHER_ONLY:
                student = self.hidden(self.student, "score")
            self.tracker.begin("statistics", "vocabulary")
            scores = self.vocab.compute_statistics(student, teacher, tokens_N, self.sizes.scored, self.exp.divergence)
        sums = scores.forward_sums
        if not self.exp.selector.needs - TEACHER_ONLY - STUDENT_ONLY:
            sums = None  # both models were scored for the log alone, which leaves nothing for the loss
        if sums is not None:
            self.tracker.tag(vars(sums).values(), "kept")
        return teacher, sums

    def train(self) -> Held:
        """The last micro-batch of a step, and before it its scores; returns what lives until the optimizer is done."""
        teacher, sums = self.score()
        index_K = torch.zeros(self.sizes.kept, dtype=torch.long)
        with self.autocast(), self.inside(self.student, "forward"), self.watch_gradients():
            student = self.hidden(self.student, "forward")[index_K]
            student.states_ND.register_hook(partial(self.reached, "layers", "activations"))
            self.tracker.begin("loss", "vocabulary")
            kept = sums[index_K] if sums is not None else None
            weights_K = torch.empty(self.sizes.kept)
            loss = self.vocab.compute_loss(student, teacher[index_K], weights_K, self.exp.divergence, kept)
        del student
        self.go_back(loss)
        return teacher, sums, loss

    def train_materialised(self) -> Held:
        """The usual way: both models' logits of every token, then the selection."""
        with torch.no_grad(), self.inside(self.teacher, "teacher"):
            teacher = self.hidden(self.teacher, "teacher")
            self.tracker.begin("teacher_logits", "vocabulary")
            teacher_NV = materialise.full_logits(teacher)
        del teacher
        index_K = torch.zeros(self.sizes.kept, dtype=torch.long)
        with self.autocast(), self.inside(self.student, "forward"), self.watch_gradients():
            student = self.hidden(self.student, "forward")
            student.states_ND.register_hook(partial(self.reached, "layers", "activations"))
            self.tracker.begin("loss", "vocabulary")
            student_NV = materialise.full_logits(student)
            del student
            if "student_entropy" in self.exp.selector.needs:
                materialise.entropies(student_NV)
            if self.exp.selector.needs - {"student_entropy"}:
                materialise.divergences(student_NV, teacher_NV)
            student_NV, teacher_NV = (materialise.rows_of(x, index_K) for x in (student_NV, teacher_NV))
            loss = materialise.chunked_loss(student_NV, teacher_NV)
        del student_NV, teacher_NV
        self.go_back(loss)
        return (loss,)

    def go_back(self, loss: Tensor) -> None:
        """The backward pass."""
        shards = self.shards.get(self.student)
        if shards is not None:
            shards.begin_backward()
        loss.backward()
        if shards is not None:
            shards.end_backward()

    @contextmanager
    def watch_gradients(self) -> Iterator[None]:
        """Gradients there already if an earlier micro-batch left some; sections for the parts of the backward pass."""
        if self.sizes.micro_batches > 1:
            self.fill_gradients()
        for parameter in trained_parameters(self.student):
            parameter.register_post_accumulate_grad_hook(lambda p: self.tracker.tag([p.grad], "gradients"))
        end = partial(self.reached, "embedding", "vocabulary")
        embedding = self.student.get_input_embeddings()

        def watch(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
            if out.requires_grad:  # not if it is frozen
                out.register_hook(end)

        handle = embedding.register_forward_hook(watch)
        yield
        handle.remove()

    def reached(self, section: str, part: str, _gradient: Tensor) -> None:
        """The backward pass has come to here."""
        self.tracker.begin(section, part)

    def update(self) -> None:
        """Clip and apply."""
        self.tracker.begin("optimizer", "optimizer")
        if self.shards and self.shards[self.student].away:
            return  # it is done on the CPU
        nn.utils.clip_grad_norm_(self.trained, self.exp.optim.clip, foreach=self.device == "cuda")
        self.optimizer.step()
        self.optimizer.zero_grad()
