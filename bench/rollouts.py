"""Rollouts beside transformers' `generate`: tokens per CPU second as ratios, and whether the tokens are the same.

    python -m bench.rollouts [--rows 4 16 64] [--repeats 3]

The base samples by `generate` with a CDF of the whole vocabulary in float64, reads each prompt for each of its
responses, and an agent's whole text for each of its turns. Both sides take turns in one process; the fastest of the
repeats counts. `wide` is a random Qwen3 of 151,936 tokens, `tiny` the student of the embedded pair. `x16` has 16
responses to each prompt. `queue` has four times as many responses as rows.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import patch

import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tipx.agents.loop import AgentRollouts
from tipx.config import build, load
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.cache import Architecture
from tipx.rollout.hf import HFRollouts, eos_ids
from tipx.types import Prompt

VOCAB = 151_936
TOKENS = 16
"""New tokens of a response of the wide model."""
Sample = Callable[[int], list[list[int]]]
"""A seed to the token ids of each response."""


@dataclass(frozen=True)
class Case:
    """What is sampled, both ways."""

    name: str
    rows: int
    sample: Sample


def whole_cdf(_: HFRollouts, logits_RV: Float[Tensor, "R V"], draws_R: Float[Tensor, " R"]) -> Int[Tensor, " R"]:
    """The base's choice."""
    cdf_RV = logits_RV.double().softmax(-1).cumsum(-1)
    return torch.searchsorted(cdf_RV, draws_R[:, None] * cdf_RV[:, -1:], right=True)[:, 0]


@contextmanager
def by_generate() -> Iterator[None]:
    """Inside, the base samples."""
    with patch.multiple(Architecture, selectable=False), patch.multiple(HFRollouts, choose=whole_cdf):
        yield


def make_wide() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A small model with a large head, and a tokenizer that has all of its ids."""
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    words = Tokenizer(WordLevel({str(i): i for i in range(VOCAB)}, unk_token=str(VOCAB - 1)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.pad_token, tokenizer.eos_token = "0", "1"
    return Qwen3ForCausalLM(config).eval(), tokenizer


def load_student(words: list[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[Prompt], list[list[int]]]:
    """The student of a configuration, its tokenizer, and the first of its questions with their prompts."""
    how = build(load(words))
    source = how.model.student
    tokenizer, questions = source.load_tokenizer("student"), how.data.load()[:256]
    prompts = [how.model.template.encode_prompt(tokenizer, question) for question in questions]
    return source.load("student", torch.device("cpu")), tokenizer, questions, prompts


def sample_plain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    copies: int,
    count: int,
    backend: HFRollouts,
    seed: int,
) -> list[list[int]]:
    """`count` responses, `copies` to each prompt; other prompts for each seed."""
    own = [prompts[(seed * count + i) // copies % len(prompts)] for i in range(count)]
    made = backend(model, tokenizer, RolloutRequest(prompts=own, rows=range(count), noise=Noise(seed)))
    return [ids[:n].tolist() for ids, n in zip(made.response_BT, made.lengths, strict=True)]


def list_cases(rows: int) -> Iterator[Case]:
    """The cases of this many rows."""
    model, tokenizer = make_wide()
    generator = torch.Generator().manual_seed(0)
    for copies, length in ((1, 24), (16, 200)):
        if rows >= copies:
            prompts = torch.randint(3, VOCAB, (rows // copies, length), generator=generator).tolist()
            backend = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=TOKENS, batch_size=rows)
            name = "wide" + (f" x{copies}, prompts of {length}" if copies > 1 else "")
            yield Case(name, rows, partial(sample_plain, model, tokenizer, prompts, copies, rows, backend))
    student, small, _, prompts = load_student(["model=tiny"])
    backend = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=72, batch_size=rows)
    for name, copies, count in (("tiny", 1, rows), ("tiny x16", 16, rows), ("tiny, queue", 1, 4 * rows)):
        if rows >= copies:
            yield Case(name, rows, partial(sample_plain, student, small, prompts, copies, count, backend))
    yield make_agents(rows)


def make_agents(rows: int) -> Case:
    """The embedded agents: up to six turns."""
    how = build(load(["experiment=tiny_agent"]))
    student, tokenizer, questions, prompts = load_student(["experiment=tiny_agent"])
    if not isinstance(how.rollout, AgentRollouts) or not isinstance(how.rollout.backend, HFRollouts):
        raise TypeError("experiment=tiny_agent samples in another way")
    agents = replace(how.rollout, backend=replace(how.rollout.backend, batch_size=rows))
    chat = how.model.template.build_chat(tokenizer, eos_ids(student, tokenizer))

    def sample(seed: int) -> list[list[int]]:
        some = [(seed * rows + i) % len(prompts) for i in range(rows)]
        request = RolloutRequest(prompts=[prompts[i] for i in some], rows=range(rows), noise=Noise(seed))
        return [episode.ids for episode in agents.play(student, chat, [questions[i].task for i in some], request)]

    return Case("tiny agents", rows, sample)


def measure(sample: Sample, seed: int) -> tuple[float, list[list[int]]]:
    """CPU seconds, and the ids."""
    start = time.process_time()
    ids = sample(seed)
    return time.process_time() - start, ids


def compare(case: Case, repeats: int) -> tuple[float, int, int]:
    """Base seconds over ours, tokens, and the responses in which a draw gave another token."""
    tokens = differ = 0
    ratios = []
    case.sample(0)
    for seed in range(3):
        base, ours = [], []
        for _ in range(repeats):
            with by_generate():
                base.append(measure(case.sample, seed))
            ours.append(measure(case.sample, seed))
        ratios.append(min(base)[0] / min(ours)[0])
        for old, new in zip(base[0][1], ours[0][1], strict=True):
            tokens += len(new)
            differ += old != new
    return sorted(ratios)[1], tokens, differ


def main() -> None:
    """Prints a row for each case."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollouts", description="Speed of rollouts, as ratios.")
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("case", "rows", "generate", "tipx", "tokens", "responses that differ")
    for rows in args.rows:
        for case in list_cases(rows):
            ratio, tokens, differ = compare(case, args.repeats)
            table.add_row(case.name, str(rows), "1", f"{ratio:.2f}", str(tokens), str(differ))
    Console().print(table)


if __name__ == "__main__":
    main()
