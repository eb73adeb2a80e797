"""Make the embedded pair from a seed: supervised fine-tuning on worked solutions, for a teacher and for a student.

The teacher runs its whole schedule. The student stops at the first check whose sampled accuracy reaches a target, since
the step at which the skill appears moves with the seed by a hundred steps and more.

Axes in names: B sequences, T positions. Everything runs on one CPU thread with a forked random state: the same seed
gives the same bytes on the same machine, and the caller's random state is left alone.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tipx.errors import RunFailed
from tipx.tiny.card import Built, Score, model_card
from tipx.tiny.task import MAX_NEW_TOKENS, Problem, held_out, is_correct, training, validation
from tipx.tiny.tokenizer import MAX_LENGTH, build_tokenizer

IGNORE = -100  # the label that transformers leaves out of its loss
GENERATE_AT_ONCE = 256  # prompts; a larger batch gains nothing on one core

Log = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End training at the first check, every ``every`` steps, with sampled accuracy >= ``accuracy`` on ``problems``."""

    accuracy: float
    every: int
    problems: int

    def reached(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, step: int, log: Log) -> bool:
        """Tell whether ``step``, counted from 1, is to be the last."""
        if step % self.every:
            return False
        score = measure(model, tokenizer, validation(self.problems), sample=True)
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


RECIPES: Mapping[str, Recipe] = {
    "teacher": Recipe(hidden=128, layers=3, batch=32, steps=3000, decay=0.4, bounds=(0.98, 1.0)),
    "student": Recipe(
        hidden=96,
        layers=3,
        batch=64,
        steps=800,
        decay=0.95,
        stop=Stop(accuracy=0.26, every=20, problems=512),
        bounds=(0.22, 0.32),
    ),
}


def build(
    out_dir: Path,
    seed: int = 0,
    log: Log = print,
    recipes: Mapping[str, Recipe] = RECIPES,
    benchmark_size: int = 512,
) -> dict[str, Built]:
    """Train one model per recipe, save each under ``out_dir/<name>`` and describe them in ``out_dir/README.md``.

    Models are measured on the first ``benchmark_size`` held-out problems. The card is removed first and written last:
    where it lies, the pair is whole. Raises RunFailed, before saving it, for a model outside the bounds of its recipe.
    """
    card = Path(out_dir) / "README.md"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.unlink(missing_ok=True)
    built = {}
    for index, (name, recipe) in enumerate(recipes.items()):
        # A seed of its own: a model does not depend on what was built before it, nor see the other's problems.
        with reproducible(1000 * seed + index):
            model, tokenizer, built[name] = _make(name, recipe, 1000 * seed + index, log, benchmark_size)
        model.save_pretrained(card.parent / name)
        tokenizer.save_pretrained(card.parent / name)
    aside = card.with_suffix(".partial")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    aside.write_text(model_card(built, seed, versions), encoding="utf-8")
    aside.replace(card)
    return built


def _make(
    name: str, recipe: Recipe, seed: int, log: Log, benchmark_size: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Built]:
    tokenizer, problems = build_tokenizer(), held_out(benchmark_size)
    model = new_model(recipe, tokenizer)
    drawn = training(seed, recipe.batch * recipe.steps)
    batches = (encode(tokenizer, drawn[at : at + recipe.batch]) for at in range(0, len(drawn), recipe.batch))
    steps = fine_tune(model, tokenizer, recipe, batches, lambda line: log(f"{name}: {line}"))
    greedy = measure(model, tokenizer, problems, sample=False)
    sampled = measure(model, tokenizer, problems, sample=True)
    log(f"{name}: done after {steps} steps; held out: greedy {greedy}, sampled {sampled}")
    low, high = recipe.bounds
    if not low <= sampled.mean <= high:
        raise RunFailed(f"{name}: expected sampled accuracy in {low}..{high}, got {sampled}; build with another --seed")
    return model, tokenizer, Built(str(recipe), model.num_parameters(), steps, greedy, sampled)


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


def encode(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> tuple[Tensor, Tensor]:
    """Return ids_BT and labels_BT (int64): question, solution, end of sequence; labels only from the solution on.

    Padded on the right, where a causal model needs no mask: no real position can see what comes after it.
    """
    prompts = tokenizer([p.question for p in problems])["input_ids"]
    solutions = tokenizer([p.solution for p in problems])["input_ids"]
    width = max(len(prompt) + len(solution) + 1 for prompt, solution in zip(prompts, solutions, strict=True))
    ids_BT = torch.full((len(problems), width), tokenizer.pad_token_id)
    labels_BT = torch.full((len(problems), width), IGNORE)
    for row, (prompt, solution) in enumerate(zip(prompts, solutions, strict=True)):
        whole = torch.tensor([*prompt, *solution, tokenizer.eos_token_id])
        ids_BT[row, : len(whole)] = whole
        labels_BT[row, len(prompt) : len(whole)] = whole[len(prompt) :]
    return ids_BT, labels_BT


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], *, sample: bool
) -> Score:
    """Return the accuracy of one response a problem: greedy, or sampled at temperature 1 without top-k or top-p."""
    # Without top_k=0 transformers would sample from the 50 likeliest tokens only.
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    settings = GenerationConfig(**how, **ends, max_new_tokens=MAX_NEW_TOKENS)
    right: list[bool] = []
    model.eval()
    for start in range(0, len(problems), GENERATE_AT_ONCE):
        asked = problems[start : start + GENERATE_AT_ONCE]
        prompts = tokenizer([p.question for p in asked], padding=True, return_tensors="pt")
        out_BT: Tensor = model.generate(**prompts, generation_config=settings)  # type: ignore[operator]
        responses = tokenizer.batch_decode(out_BT[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        right += [is_correct(text, p) for text, p in zip(responses, asked, strict=True)]
    return Score.of(right)


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
