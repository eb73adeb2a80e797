"""Make the embedded pair from a seed: supervised fine-tuning on worked solutions, for a teacher and for a student.

The teacher runs its whole schedule. The student stops at the first check whose sampled accuracy reaches a target, since
the step at which the skill appears moves with the seed by a hundred steps and more.

Axes in names: B sequences, T positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tipx.embedded.arithmetic.card import Built, Score, model_card
from tipx.embedded.arithmetic.task import MAX_NEW_TOKENS, Problem, held_out, is_correct, training, validation
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.embedded.arithmetic.tuning import (
    IGNORE,
    Log,
    Recipe,
    Stop,
    check,
    fine_tune,
    finish,
    new_model,
    padded,
    reproducible,
    start,
    versions,
)

GENERATE_AT_ONCE = 256  # prompts; a larger batch gains nothing on one core


@dataclass(frozen=True, kw_only=True)
class Answering(Stop):
    """Stop by accuracy on arithmetic problems."""

    def score(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Score:
        return measure(model, tokenizer, validation(self.problems), sample=True)


RECIPES: Mapping[str, Recipe] = {
    "teacher": Recipe(hidden=128, layers=3, batch=32, steps=3000, decay=0.4, bounds=(0.98, 1.0)),
    "student": Recipe(
        hidden=96,
        layers=3,
        batch=64,
        steps=800,
        decay=0.95,
        stop=Answering(accuracy=0.26, every=20, problems=512),
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

    Models are measured on the first ``benchmark_size`` held-out problems. The folder is empty or new, and the card is
    written last: where it lies, the pair is whole. Raises RunFailed, before saving it, for a model outside the bounds
    of its recipe.
    """
    built = {}
    start(out_dir)
    for index, (name, recipe) in enumerate(recipes.items()):
        # A seed of its own: a model does not depend on what was built before it, nor see the other's problems.
        with reproducible(1000 * seed + index):
            model, tokenizer, built[name] = _make(name, recipe, 1000 * seed + index, log, benchmark_size)
        model.save_pretrained(out_dir / name)
        tokenizer.save_pretrained(out_dir / name)
    finish(out_dir, model_card(built, seed, versions()))
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
    made = Built(str(recipe), model.num_parameters(), steps, greedy, sampled)
    check(name, recipe, made, log)
    return model, tokenizer, made


def encode(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> tuple[Tensor, Tensor]:
    """Return ids_BT and labels_BT (int64): question, solution, end of sequence; labels only from the solution on."""
    prompts = tokenizer([p.question for p in problems])["input_ids"]
    solutions = tokenizer([p.solution for p in problems])["input_ids"]
    ended = [[*solution, tokenizer.eos_token_id] for solution in solutions]
    pairs = list(zip(prompts, ended, strict=True))
    return padded([(p + s, [IGNORE] * len(p) + s) for p, s in pairs], tokenizer.pad_token_id)


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
    for at in range(0, len(problems), GENERATE_AT_ONCE):
        asked = problems[at : at + GENERATE_AT_ONCE]
        prompts = tokenizer([p.question for p in asked], padding=True, return_tensors="pt")
        out_BT: Tensor = model.generate(**prompts, generation_config=settings)  # type: ignore[operator]
        responses = tokenizer.batch_decode(out_BT[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        right += [is_correct(text, p) for text, p in zip(responses, asked, strict=True)]
    return Score.of(right)
