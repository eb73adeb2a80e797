"""How well a student knows texts it was not trained on: perplexity, and divergence from the teacher.

On its own rollouts a student can come close to its teacher by saying little; on texts of somebody else it cannot.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from tipx.data.layout import read_cells, read_questions
from tipx.data.rows import ReadQuestion, UnreadablePromptError, read_answer
from tipx.data.table import Place
from tipx.errors import DataError
from tipx.files.atomic import make_folder, write_json, write_text
from tipx.models.pair import Template
from tipx.processes import World
from tipx.rollout.collect import from_lists
from tipx.runs.results import CHECKSUM, FILE, TEXTS, seal_facts, text_checksum, text_statistics
from tipx.spec import Count, PathText, Whole, spec
from tipx.text.encoding import encode_bare, find_prefix_ids
from tipx.types import Prompt, Rollout, TokenStats

NEEDS = frozenset({"student_logprob", "teacher_logprob", "reverse_kl", "forward_kl"})
Score = Callable[[Rollout, frozenset[str]], TokenStats]


@spec
class Texts:
    """Rows of a table, as they are written there."""

    path: PathText | None
    """A file, a folder of parts, a pattern, or hf://datasets/OWNER/NAME/FILE. null takes the first of `hub` that can
    be had."""
    hub: tuple[PathText, ...]
    """Addresses of copies on the hub, tried in order where there is no `path`."""
    prompt_field: str
    """The column with the question, which is given and not scored. Without an `answer_field` its own text is scored."""
    answer_field: str | None
    """The column with the text that is scored. null scores what stands in `prompt_field`."""

    def load(self) -> list[tuple[Prompt | None, str]]:
        """(question or None, text to score); raises DataError when they cannot be had, by row where one cannot be read.

        A chat whose last turn is the assistant's is both.
        """
        table = Place("heldout.texts.path", "texts", self.path, self.hub).find()
        rows, where = table.rows(), f"heldout.texts.path: {table.origin!r}"
        for field in (self.prompt_field, self.answer_field):
            if field is not None and field not in rows.columns:
                raise DataError(
                    f"{where} has no column {field!r}; it has {', '.join(map(repr, rows.columns))}; set "
                    "heldout.texts.prompt_field and heldout.texts.answer_field"
                )
        found = read_questions(rows, self.prompt_field, where)
        prompts = [Prompt(str(row), one.question, before=one.before) for row, one in enumerate(found)]
        if self.answer_field is not None:
            answers = read_cells(
                rows[self.answer_field].tolist(), answer_logprobs, where, self.answer_field, "text or a number"
            )
            return list(zip(prompts, answers, strict=True))
        return read_cells(
            list(zip(prompts, found, strict=True)), alone, where, self.prompt_field, "a text, or a chat with an answer"
        )


def answer_logprobs(value: Any) -> str:
    """The text in a value; raises UnreadableError for a missing one."""
    text = read_answer(value)
    if text is None:
        raise UnreadablePromptError("it is missing")
    return text


def alone(row: tuple[Prompt, ReadQuestion]) -> tuple[Prompt | None, str]:
    """(question or None, text to score) of what stands in one column; raises UnreadableError."""
    prompt, one = row
    if one.reply is not None:
        return prompt, one.reply
    if one.before:
        raise UnreadablePromptError("the last turn is not the assistant's, so there is nothing to score")
    return None, one.question


@spec
class HeldOut:
    """Texts of somebody else, scored before training, at intervals, and at the end."""

    texts: Texts | None
    """Where the texts are from. null measures nothing."""
    limit: Count | None
    """The first so many texts. null takes all."""
    max_tokens: Count
    """Tokens of each text that are scored, from its beginning."""
    every: Whole
    """Steps between two measurements; there is one before training and one at the end, too. 0 is never."""

    def load(self) -> list[tuple[Prompt | None, str]]:
        """(question or None, text to score); raises DataError when they cannot be had."""
        return [] if self.texts is None else self.texts.load()[: self.limit]

    def folder_name(self, template: Template) -> str:
        """`heldout-<hash6>` of all that decides the numbers."""
        settings = {key: value for key, value in asdict(self).items() if key != "every"}
        text = json.dumps([settings, asdict(template)], sort_keys=True)
        return f"heldout-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text: what is given, and what is scored."""

    given: list[int]
    scored: list[int]


def encode_texts(held: HeldOut, tokenizer: PreTrainedTokenizerBase, template: Template) -> list[Encoded]:
    """Every text with at least one token to score; raises DataError if there is none.

    Without a question what the tokenizer puts before a text is given, or else the first token: nothing predicts it.
    """
    texts = []
    first = find_prefix_ids(tokenizer)
    for prompt, text in held.load():
        ids = encode_bare(tokenizer, text)[: held.max_tokens + (prompt is None and not first)]
        if prompt is not None:
            texts.append((template.encode_prompt(tokenizer, prompt), ids))
        else:
            texts.append((first, ids) if first else (ids[:1], ids[1:]))
    found = [Encoded(given, scored) for given, scored in texts if given and scored]
    if not found:
        raise DataError("heldout.texts: hold no text of two tokens or more; give others: heldout.texts.path=FILE")
    return found


def evaluate_texts(texts: Sequence[Encoded], score: Score, batch: int, world: World, out: Path) -> dict[str, Any]:
    """Score the texts, shared over the processes of `world`; `texts.jsonl` and then `result.json` go under `out`."""
    mine = list(range(world.rank, len(texts), world.size))
    rows: list[dict[str, Any]] = []
    # All processes score equally often, as sharded models need. One without a text left scores any, for nothing.
    for start in range(0, math.ceil(len(texts) / world.size), batch):
        some = mine[start : start + batch]
        sums = token_totals([texts[i] for i in some or [0]], score, world)
        rows += [{"text": i} | found for i, found in zip(some, sums if some else [], strict=True)]
    rows = sorted(world.gather_list(rows), key=lambda row: row["text"])
    text = "".join(json.dumps(row) + "\n" for row in rows)
    result = text_statistics(rows)
    if world.is_main:
        make_folder(out)
        write_text(out / TEXTS, text)
        write_json(out / FILE, seal_facts(result | {CHECKSUM: text_checksum(text)}))
    world.barrier()
    return result


def token_totals(texts: Sequence[Encoded], score: Score, world: World) -> list[dict[str, Any]]:
    """For each text the number of tokens and the sums of their statistics, nats."""
    given, scored = [text.given for text in texts], [text.scored for text in texts]
    rollout = from_lists(given, scored, ["length"] * len(texts), world.device)
    stats = score(rollout, NEEDS)
    sums = {name: stats[name].to(torch.float64).sum(-1).tolist() for name in sorted(NEEDS)}
    return [
        {"tokens": len(text.scored)} | {name: values[b] for name, values in sorted(sums.items())}
        for b, text in enumerate(texts)
    ]
