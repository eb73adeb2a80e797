"""Supervised fine-tuning of small models from a seed.

Axes in names: B sequences, T positions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tipx.embedded.card import Accuracy
from tipx.embedded.tokenizer import MAX_LENGTH
from tipx.errors import RunFailed

IGNORE = -100  # the label that transformers leaves out of its loss

Log = Callable[[str], object]
Batch = tuple[Tensor, Tensor]
"""ids_BT and labels_BT (int64): tokens, and the same as labels, with IGNORE for each token that is not to be learned.
The label of a token stands at its own place; the model's loss compares it with the logits of the place before."""


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """Training ends at the first check, every ``every`` steps, with a sampled accuracy >= ``accuracy``.

    ``problems`` is the number of validation problems of a check.
    """

    accuracy: float
    every: int
    problems: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Size and training of one model.

    ``steps`` is the length of the schedule: the learning rate rises to ``lr`` over the share ``warmup`` and falls to 0
    over the last share ``decay``. ``bounds`` are the sampled accuracies the result may have on held-out problems.
    """

    hidden: int
    layers: int
    batch: int
    steps: int
    lr: float = 3e-3
    warmup: float = 0.05
    decay: float
    clip: float = 1.0
    heads: int = 4
    kv_heads: int = 2
    stop: EarlyStop | None = None
    bounds: tuple[float, float] = (0.0, 1.0)

    def lr_at(self, step: int) -> float:
        """Learning rate of ``step``, counted from 0."""
        rise = (step + 1) / max(1.0, self.warmup * self.steps)
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, rise, fall)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """Return an untrained float32 model; its weights come from torch's global random state."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=3 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        head_dim=recipe.hidden // recipe.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model


def fine_tune(
    model: PreTrainedModel, recipe: Recipe, batches: Iterable[Batch], validate: Callable[[int], Accuracy], log: Log
) -> int:
    """Train ``model`` in place, one batch a step; return the number of steps made.

    ``validate`` measures the model on a number of validation problems. Raises RunFailed when the schedule ends before
    the accuracy that ``recipe.stop`` asks for.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.98))
    began, stop = time.perf_counter(), recipe.stop
    for step, batch in zip(range(1, recipe.steps + 1), batches, strict=False):
        loss = train_step(model, optimizer, batch, lr=recipe.lr_at(step - 1), clip=recipe.clip)
        if step % 100 == 0:
            log(f"step {step}/{recipe.steps}, loss {loss:.4f} nats, {time.perf_counter() - began:.0f} s")
        if stop is not None and step % stop.every == 0:
            accuracy = validate(stop.problems)
            log(f"step {step}, sampled {accuracy}")
            if accuracy.mean >= stop.accuracy:
                return step
    if stop is not None:
        raise RunFailed(f"expected sampled accuracy >= {stop.accuracy} within {recipe.steps} steps; try another --seed")
    return recipe.steps


def train_step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, batch: Batch, lr: float, clip: float) -> float:
    """Make one update; return the mean loss of the labels, nats."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    ids_BT, labels_BT = batch
    model.train()
    loss = model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def round_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Round weights to what ``dtype`` can hold.

    They stay float32, as do the angles of rotary positions, which are buffers and no weights.
    """
    for weight in model.parameters():
        weight.copy_(weight.to(dtype))


def pad_rows(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> Batch:
    """Return a batch of rows of ids and labels.

    It is padded on the right, where a causal model needs no mask: no real position can see what comes after it.
    """
    width = max(len(ids) for ids, _ in rows)
    ids_BT, labels_BT = torch.full((len(rows), width), pad), torch.full((len(rows), width), IGNORE)
    for row, (ids, labels) in enumerate(rows):
        ids_BT[row, : len(ids)], labels_BT[row, : len(ids)] = torch.tensor(ids), torch.tensor(labels)
    return ids_BT, labels_BT


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch and use one thread inside, since the order of a sum depends on the threads; restore both after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
