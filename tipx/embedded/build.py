"""Make an embedded pair from a seed: the frame of both pairs, and of `tipx tiny`.

Every model is trained on worked answers of its task family. Its heads are widened for inference engines, it is measured
greedily and sampled on the held-out problems, and saved if it is about as strong as its recipe says. Everything runs on
one CPU thread with a forked random state: the same seed gives the same bytes on the same machine, and the caller's
random state is left alone.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3ForCausalLM

from tipx.embedded.card import Accuracy, Built, CardText, write_card
from tipx.embedded.draws import ProblemSets
from tipx.embedded.heads import widen_heads
from tipx.embedded.tuning import Batch, Log, Recipe, fine_tune, new_model, reproducible, round_weights
from tipx.errors import RunError, RunFailed
from tipx.files.atomic import disk_advice

CARD = "README.md"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EmbeddedPair(Generic[T]):
    """What one pair adds to the frame; `T` is a problem of its task family.

    `recipes` are those of its models, in the order of building. The models' seeds are 1000 * seed + `first_seed`, + 1
    and so on, so that a model does not see the problems of the other. With `continued` a model starts from the weights
    of the one before it, else from random ones. Weights are rounded to `dtype`, then measured and saved.

    `make_batches` gives training batches for ever from a tokenizer, a seed and a number of sequences. `measure` gives
    the accuracy of a model with its tokenizer on problems, one try each at a temperature; 0 is greedy.
    """

    problems: ProblemSets[T]
    benchmark_size: int
    recipes: Mapping[str, Recipe]
    first_seed: int
    continued: bool
    dtype: torch.dtype
    card: CardText
    build_tokenizer: Callable[[], PreTrainedTokenizerBase]
    make_batches: Callable[[PreTrainedTokenizerBase, int, int], Iterator[Batch]]
    measure: Callable[[PreTrainedModel, PreTrainedTokenizerBase, Sequence[T], float], Accuracy]


def build_pair(pair: EmbeddedPair[T], out_dir: Path, seed: int = 0, log: Log = print) -> dict[str, Built]:
    """Train one model per recipe, save each under `out_dir/<name>` and describe them in `out_dir/README.md`.

    The folder is empty or new, and the card is written last: where it lies, the pair is whole. Raises RunFailed, before
    saving it, for a model outside the bounds of its recipe.
    """
    make_empty_folder(out_dir)
    tokenizer, built, weights = pair.build_tokenizer(), dict[str, Built](), None
    for model_seed, (name, recipe) in enumerate(pair.recipes.items(), start=1000 * seed + pair.first_seed):
        with reproducible(model_seed):
            model = new_model(recipe, tokenizer)
            if weights is not None:
                model.load_state_dict(weights)
            wide, built[name] = train_model(pair, name, model, tokenizer, model_seed, log)
        weights = model.state_dict() if pair.continued else None
        save_weights(wide, pair.dtype, out_dir / name)
        tokenizer.save_pretrained(out_dir / name)
    save_card(out_dir, write_card(pair.card, built, seed, describe_versions()))
    return built


def train_model(
    pair: EmbeddedPair[T],
    name: str,
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    log: Log,
) -> tuple[Qwen3ForCausalLM, Built]:
    """Train `model` in place and round its weights; return it with heads for engines, and what that is and scores.

    Raises RunFailed where it is outside its recipe's bounds.
    """

    def measure(model: Qwen3ForCausalLM, problems: Sequence[T], temperature: float) -> Accuracy:
        return pair.measure(model.eval(), tokenizer, problems, temperature)

    recipe, held_out = pair.recipes[name], pair.problems.held_out(pair.benchmark_size)
    steps = fine_tune(
        model,
        recipe,
        pair.make_batches(tokenizer, seed, recipe.batch),
        validate=lambda count: measure(model, pair.problems.validation(count), 1.0),
        log=lambda line: log(f"{name}: {line}"),
    )
    round_weights(model, pair.dtype)
    wide = widen_heads(model)
    built = Built(str(recipe), wide.num_parameters(), steps, measure(wide, held_out, 0.0), measure(wide, held_out, 1.0))
    log(f"{name}: done after {built.steps} steps; held out: greedy {built.greedy}, sampled {built.sampled}")
    low, high = recipe.bounds
    if not low <= built.sampled.mean <= high:
        raise RunFailed(
            f"{name}: expected sampled accuracy in {low}..{high}, got {built.sampled}; build with another --seed"
        )
    return wide, built


def save_weights(model: Qwen3ForCausalLM, dtype: torch.dtype, folder: Path) -> None:
    """Save the model, each weight in `dtype` where that holds it exactly, else as it is."""
    model = deepcopy(model)
    for weight in model.parameters():
        rounded = weight.data.to(dtype)
        if torch.equal(rounded.to(weight.dtype), weight.data):
            weight.data = rounded
    model.save_pretrained(folder)


def make_empty_folder(out_dir: Path) -> None:
    """Make the folder; raises RunError for one that cannot be made or holds something."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in out_dir.iterdir())
    except OSError as error:
        raise RunError(f"cannot write {out_dir}: {error.strerror}; {disk_advice(error)}") from error
    if names:
        raise RunError(f"{out_dir} is not empty (it holds {names[0]}), and stays; give a new or empty folder")


def save_card(out_dir: Path, card: str) -> None:
    """Write the card, whole or not at all."""
    partial = out_dir / f"{CARD}.partial"
    partial.write_text(card, encoding="utf-8")
    partial.replace(out_dir / CARD)


def describe_versions() -> str:
    """Return what a model's bytes depend on, besides its seed."""
    return f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
