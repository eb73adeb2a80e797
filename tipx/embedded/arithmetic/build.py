"""How the arithmetic pair is built: on worked solutions, by accuracy on the answer in the last box.

The teacher runs its whole schedule. The student stops at the first check whose sampled accuracy reaches a target, since
the step at which the skill appears moves with the seed by a hundred steps and more.

Axes in names: B sequences, T positions.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tipx.embedded.arithmetic.card import TEXT
from tipx.embedded.arithmetic.family import BENCHMARK_SIZE, MAX_NEW_TOKENS, PROBLEMS, Problem, is_correct
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.embedded.build import EmbeddedPair
from tipx.embedded.card import Accuracy
from tipx.embedded.tuning import IGNORE, Batch, EarlyStop, Recipe, pad_rows

GENERATE_AT_ONCE = 256  # prompts; a larger batch gains nothing on one core


def make_batches(tokenizer: PreTrainedTokenizerBase, seed: int, size: int) -> Iterator[Batch]:
    """Yield batches of ``size`` fresh solutions for ever."""
    problems = PROBLEMS.training(seed)
    while True:
        yield encode_solutions(tokenizer, list(islice(problems, size)))


def encode_solutions(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> Batch:
    """Return ids_BT and labels_BT: question, solution, end of sequence; labels only from the solution on."""
    prompts = tokenizer([p.question for p in problems])["input_ids"]
    solutions = tokenizer([p.solution for p in problems])["input_ids"]
    ended = [[*solution, tokenizer.eos_token_id] for solution in solutions]
    pairs = list(zip(prompts, ended, strict=True))
    return pad_rows([(p + s, [IGNORE] * len(p) + s) for p, s in pairs], tokenizer.pad_token_id)


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], temperature: float
) -> Accuracy:
    """Return the accuracy of one response a problem: greedy at temperature 0, else sampled without top-k or top-p."""
    # Without top_k=0 transformers would sample from the 50 likeliest tokens only.
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    how = sampled if temperature else {"do_sample": False}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    settings = GenerationConfig(**how, **ends, max_new_tokens=MAX_NEW_TOKENS)
    solved: list[bool] = []
    for start in range(0, len(problems), GENERATE_AT_ONCE):
        asked = problems[start : start + GENERATE_AT_ONCE]
        prompts = tokenizer([p.question for p in asked], padding=True, return_tensors="pt")
        out_BT: Tensor = model.generate(**prompts, generation_config=settings)  # type: ignore[operator]
        responses = tokenizer.batch_decode(out_BT[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        solved += [is_correct(text, p) for text, p in zip(responses, asked, strict=True)]
    return Accuracy.of(solved)


ARITHMETIC = EmbeddedPair(
    problems=PROBLEMS,
    benchmark_size=BENCHMARK_SIZE,
    recipes={
        "teacher": Recipe(hidden=128, layers=3, batch=32, steps=3000, decay=0.4, bounds=(0.98, 1.0)),
        "student": Recipe(
            hidden=96,
            layers=3,
            batch=64,
            steps=800,
            decay=0.95,
            stop=EarlyStop(accuracy=0.26, every=20, problems=512),
            bounds=(0.22, 0.32),
        ),
    },
    first_seed=0,
    continued=False,
    dtype=torch.float32,
    card=TEXT,
    build_tokenizer=build_tokenizer,
    make_batches=make_batches,
    measure=measure,
)
