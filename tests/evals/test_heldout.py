"""Perplexity and divergence of texts that are not trained on, against the models' own logits."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from tests.rows import undeclared
from tipx.config import build, load
from tipx.display.tables import held_out
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.errors import DataError
from tipx.evals.heldout import HeldOut, encode_texts, evaluate_texts
from tipx.models.pair import Template
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.runs.results import read_result, text_statistics
from tipx.train.start import train_run
from tipx.types import Rollout, TokenStats

Overrides = Callable[..., list[str]]
PLAIN = Template(chat=False, instruction=" a :", thinking=None)
TEXTS = [
    {"q": "q : tom has 14 pens . how many ?", "s": "start 14 . \\boxed{ 14 }"},
    {"q": "q : ann has 7 pens . how many ?", "s": "start 7 . now"},
    {"q": "q : mia has 5 pens . how many ?", "s": "now 5"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    return path


def held(file: Path, *more: str) -> HeldOut:
    given = [f"heldout.texts.path={file}", "heldout.texts.prompt_field=q", "heldout.texts.answer_field=s"]
    built: HeldOut = build(load(["heldout=file", *given, *more])).heldout
    return built


def test_an_answer_is_scored_given_its_question(file: Path) -> None:
    tokenizer = build_tokenizer()
    texts = encode_texts(held(file), tokenizer, PLAIN)
    assert [tokenizer.decode(t.given) for t in texts] == [
        tokenizer.decode(tokenizer(f"{t['q']} a :")["input_ids"]) for t in TEXTS
    ]
    assert [t.scored for t in texts] == [tokenizer(t["s"])["input_ids"] for t in TEXTS]
    few = encode_texts(held(file, "heldout.max_tokens=2", "heldout.limit=2"), tokenizer, PLAIN)
    assert [t.scored for t in few] == [t.scored[:2] for t in texts[:2]]


def test_a_text_without_a_question_is_scored_from_its_second_token(file: Path) -> None:
    tokenizer = build_tokenizer()
    texts = encode_texts(held(file, "heldout.texts.answer_field=null", "heldout.max_tokens=4"), tokenizer, PLAIN)
    whole = [tokenizer(t["q"])["input_ids"] for t in TEXTS]
    assert [(t.given, t.scored) for t in texts] == [(ids[:1], ids[1:5]) for ids in whole]


def test_sums_become_means_over_tokens_and_errors_over_texts() -> None:
    # Texts of 1 and 3 tokens with 2 and 3 nats: 5/4 nats a token. Residuals 2 - 1.25 = 0.75 and 3 - 3.75 = -0.75, over
    # the mean count 2: 0.375 and -0.375; standard deviation 0.375 sqrt(2), over sqrt(2): 0.375.
    rows = [
        {"tokens": n, "student_logprob": -s, "teacher_logprob": -s / 2, "reverse_kl": s, "forward_kl": 2 * s}
        for n, s in ((1, 2.0), (3, 3.0))
    ]
    result = text_statistics(rows)
    assert (result["texts"], result["tokens"]) == (2, 4)
    assert result["perplexity"] == pytest.approx(math.exp(1.25))
    assert result["perplexity_se"] == pytest.approx(math.exp(1.25) * 0.375)
    assert result["teacher_perplexity"] == pytest.approx(math.exp(0.625))
    assert (result["reverse_kl"], result["reverse_kl_se"]) == pytest.approx((1.25, 0.375))
    assert (result["forward_kl"], result["forward_kl_se"]) == pytest.approx((2.5, 0.75))
    assert text_statistics(rows[:1])["perplexity_se"] is None


@pytest.fixture
def run(file: Path, overrides: Overrides) -> Run:
    more = ["heldout=file", f"heldout.texts.path={file}", "heldout.texts.prompt_field=q", "heldout.every=2"]
    return train_run(
        overrides(*more, "heldout.texts.answer_field=s", "hardware.micro_batch=2"), fresh=False, config_dir=None
    )[0]


def test_before_in_between_and_after(run: Run) -> None:
    rows = {row["step"]: row for row in run.rows() if "heldout/perplexity" in row}
    assert [undeclared(row) for row in rows.values()] == [{}] * len(rows)
    assert list(rows) == [0, 2, 4]
    for step, row in rows.items():
        (folder,) = run.eval_dir(step).glob("heldout-*")
        result = read_result(folder / "result.json")
        numbers = {name: value for name, value in result.items() if not name.endswith("sha256")}
        assert {f"heldout/{name}": value for name, value in numbers.items()}.items() <= row.items()
        texts = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
        assert [text["text"] for text in texts] == [0, 1, 2]
        assert text_statistics(texts) == numbers
    assert len({row["heldout/perplexity"] for row in rows.values()}) == 3
    assert len({row["heldout/teacher_perplexity"] for row in rows.values()}) == 1
    assert run.summary()["before"]["heldout/perplexity"] == rows[0]["heldout/perplexity"]
    assert run.summary()["after"]["heldout/reverse_kl"] == rows[4]["heldout/reverse_kl"]
    table = held_out(StoredRun(run))
    assert table is not None
    assert table.row_count == 3


@torch.no_grad()
def test_the_numbers_are_those_of_the_models_own_logits(run: Run, pair_dir: Path) -> None:
    tokenizer, made = build_tokenizer(), run.config()
    student, teacher = (AutoModelForCausalLM.from_pretrained(pair_dir / role) for role in ("student", "teacher"))
    nll, kl, count = 0.0, 0.0, 0
    for text in TEXTS:
        given, ids = (
            tokenizer(part)["input_ids"] for part in (text["q"] + made["model"]["template"]["instruction"], text["s"])
        )
        p, q = (
            model(torch.tensor([given + ids])).logits[0, len(given) - 1 : -1].log_softmax(-1)
            for model in (student, teacher)
        )
        nll -= float(p.gather(-1, torch.tensor(ids)[:, None]).sum())
        kl += float((p.exp() * (p - q)).sum())
        count += len(ids)
    row = run.rows()[0]
    assert row["heldout/tokens"] == count
    assert row["heldout/perplexity"] == pytest.approx(math.exp(nll / count), rel=1e-4)
    assert row["heldout/reverse_kl"] == pytest.approx(kl / count, rel=1e-4)


@pytest.mark.parametrize(("size", "batch"), [(1, 1), (1, 9), (2, 1), (4, 2)])  # of four processes one has no text
def test_batches_and_processes_change_nothing(size: int, batch: int, file: Path, tmp_path: Path) -> None:
    texts = encode_texts(held(file), build_tokenizer(), PLAIN)
    gathered: list[Any] = []

    class Part:
        device = torch.device("cpu")

        def __init__(self, rank: int) -> None:
            self.rank, self.size, self.is_main = rank, size, rank == size - 1

        def gather_list(self, local: list[Any]) -> list[Any]:
            gathered.extend(local)
            return list(gathered)

        def barrier(self) -> None: ...

    def score(rollout: Rollout, needs: frozenset[str]) -> TokenStats:
        return TokenStats(**dict.fromkeys(needs, rollout.response_BT * rollout.valid_BT * 0.1))

    for rank in range(size):  # the last has what all have gathered
        result = evaluate_texts(texts, score, batch, Part(rank), tmp_path / "out")  # type: ignore[arg-type]
    rows = [json.loads(line) for line in (tmp_path / "out" / "texts.jsonl").read_text().splitlines()]
    assert [(row["text"], row["tokens"]) for row in rows] == [(i, len(t.scored)) for i, t in enumerate(texts)]
    sums = [0.1 * sum(t.scored) for t in texts]
    assert [row["reverse_kl"] for row in rows] == pytest.approx(sums)
    assert result["reverse_kl"] == pytest.approx(sum(sums) / sum(len(t.scored) for t in texts))


def test_other_texts_are_another_folder(file: Path) -> None:
    names = {
        held(file, *more).folder_name(PLAIN)
        for more in ([], ["heldout.limit=2"], ["heldout.max_tokens=3"], ["heldout.texts.answer_field=null"])
    }
    assert len(names) == 4
    assert held(file, "heldout.every=7").folder_name(PLAIN) in names


def test_by_default_there_are_none() -> None:
    exp = build(load([]))
    assert (exp.heldout.texts, exp.heldout.every, exp.heldout.load()) == (None, 0, [])


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([], [], r"heldout\.texts\.path: .* holds no prompts; expected at least one row"),
        (TEXTS, ["heldout.texts.prompt_field=x"], r"no column 'x'; .*; set heldout\.texts\.prompt_field and heldout"),
        ([{"q": "tom", "s": ""}], [], r"heldout\.texts: hold no text of two tokens or more; give others"),
        (
            [TEXTS[0], {"q": "tom", "s": None}],
            [],
            r"row 1: expected text or a number in 's', got None \(it is missing\)",
        ),
        ([{"q": "tom", "s": {"a": 1}}], [], r"row 0: expected text or a number in 's', got \{'a': 1\} "),
    ],
)
def test_texts_that_cannot_be_used_are_one_line(rows: Any, more: list[str], said: str, file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=said):
        encode_texts(held(file, *more), build_tokenizer(), PLAIN)


def test_what_a_run_keeps_rebuilds_it(run: Run) -> None:
    assert yaml.safe_load(run.config_file.read_text())["heldout"]["every"] == 2
