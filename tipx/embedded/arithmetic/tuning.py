"""What the builders of both embedded pairs share: supervised fine-tuning from a seed, and a folder with a card.

Axes in names: B sequences, T positions. Everything runs on one CPU thread with a forked random state: the same seed
gives the same bytes on the same machine, and the caller's random state is left alone.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tipx.embedded.arithmetic.card import Built, Score
from tipx.embedded.arithmetic.tokenizer import MAX_LENGTH
from tipx.errors import RunError, RunFailed
from tipx.files.atomic import disk_advice

CARD = "README.md"
IGNORE = -100  # the label that transformers leaves out of its loss

Log = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End training at the first check, every ``every`` steps, with a score >= ``accuracy`` on ``problems``."""

    accuracy: float
    every: int
    problems: int

    def score(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Score:
        """Sampled, on problems of their own."""
        raise NotImplementedError

    def reached(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, step: int, log: Log) -> bool:
        """Tell whether ``step``, counted from 1, is to be the last."""
        if step % self.every:
            return False
        score = self.score(model, tokenizer)
        log(f"step {step}, sampled {score}")
        return score.mean >= self.accuracy


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
    stop: Stop | None = None
    bounds: tuple[float, float] = (0.0, 1.0)

    def lr_at(self, step: int) -> float:
        """Learning rate of ``step``, counted from 0."""
        rise = (step + 1) / max(1.0, self.warmup * self.steps)
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.lr * min(1.0, rise, fall)


def start(out_dir: Path) -> None:
    """Make the folder; raises RunError for one that cannot be made or holds something."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in out_dir.iterdir())
    except OSError as error:
        raise RunError(f"cannot write {out_dir}: {error.strerror}; {disk_advice(error)}") from error
    if there:
        raise RunError(f"{out_dir} is not empty (it holds {there[0]}), and stays; give a new or empty folder")


def finish(out_dir: Path, card: str) -> None:
    """Write the card, whole or not at all."""
    aside = out_dir / f"{CARD}.partial"
    aside.write_text(card, encoding="utf-8")
    aside.replace(out_dir / CARD)


def versions() -> str:
    """What a model's bytes depend on, besides its seed."""
    return f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"


def check(name: str, recipe: Recipe, made: Built, log: Log) -> None:
    """Raises RunFailed for a model outside the bounds of its recipe."""
    log(f"{name}: done after {made.steps} steps; held out: greedy {made.greedy}, sampled {made.sampled}")
    low, high = recipe.bounds
    if not low <= made.sampled.mean <= high:
        raise RunFailed(
            f"{name}: expected sampled accuracy in {low}..{high}, got {made.sampled}; build with another --seed"
        )


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
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    batches: Iterable[tuple[Tensor, Tensor]],
    log: Log,
) -> int:
    """Train ``model`` in place on ids_BT and labels_BT, one batch a step; return the number of steps made.

    Raises RunFailed when the schedule ends before the accuracy that ``recipe.stop`` asks for.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.98))
    began = time.perf_counter()
    for step, (ids_BT, labels_BT) in zip(range(1, recipe.steps + 1), batches, strict=False):
        loss = _train_step(model, optimizer, ids_BT, labels_BT, lr=recipe.lr_at(step - 1), clip=recipe.clip)
        if step % 100 == 0:
            log(f"step {step}/{recipe.steps}, loss {loss:.4f} nats, {time.perf_counter() - began:.0f} s")
        if recipe.stop is not None and recipe.stop.reached(model, tokenizer, step, log):
            break
    else:
        if recipe.stop is not None:
            raise RunFailed(
                f"expected sampled accuracy >= {recipe.stop.accuracy} within {recipe.steps} steps; try another --seed"
            )
    return step


def padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    """ids_BT and labels_BT of rows of ids and labels.

    Padded on the right, where a causal model needs no mask: no real position can see what comes after it.
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


def _train_step(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, ids_BT: Tensor, labels_BT: Tensor, lr: float, clip: float
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr
    model.train()
    loss = model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return float(loss.detach())
