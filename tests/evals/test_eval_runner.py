"""Sampling, grading and summing up: nothing is dropped, nothing is done twice, and errors are over problems.

By hand: three problems of four answers each, of which 3, 0 and 1 are right.

    mean     (0.75 + 0 + 0.25) / 3 = 1/3
    error    deviations 5/12, -4/12, -1/12; sample variance (25 + 16 + 1) / 144 / 2 = 42/288; sqrt(42/288 / 3) = 0.2205
    pass@2   1 - C(1,2)/C(4,2) = 1;  0;  1 - C(3,2)/C(4,2) = 1/2   -> 1/2
    pass@4   1, 0, 1                                               -> 2/3
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import make_hardware
from tipx.embedded.arithmetic.data import Arithmetic
from tipx.embedded.arithmetic.family import PROBLEMS
from tipx.errors import DataError
from tipx.evals import Evaluation
from tipx.evals.exam import Exam
from tipx.evals.journal import Journal
from tipx.evals.runner import Subject, evaluate_exam, marks, readable_text, run_all
from tipx.evals.summary import Sample
from tipx.grading.grade import OUTCOMES, Grader, read_both
from tipx.models.pair import ModelSource, Template
from tipx.processes import World
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import collect
from tipx.rollout.hf import HFRollouts
from tipx.stats.estimates import mean_and_error, pass_at_k
from tipx.types import Prompt, Rollout

PLAIN = Template(chat=False, instruction="", thinking=None)
SAMPLING = HFRollouts(temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=6, batch_size=64)
HOW = Evaluation(n=4, greedy=True, limit=None, path=None, sampling=SAMPLING)


@dataclass(frozen=True)
class Bench:
    """A benchmark of the test's own."""

    problems: tuple[Prompt, ...]
    name: str = "small"

    def load(self, path: str | None) -> list[Prompt]:
        return list(self.problems)

    def source(self, path: str | None) -> str:
        return "here"


THREE = Bench(tuple(Prompt(f"p{i}", f"tom has {gold} .", gold) for i, gold in enumerate(("14", "7", "99"))))


@pytest.fixture(scope="module")
def subject(pair_dir: Path) -> Subject:
    source = ModelSource(path=str(pair_dir / "student"), revision=None, dtype="float32", attn=None, keep_layers=None)
    return Subject(source.load("student", torch.device("cpu")), source.load_tokenizer("student"))


@pytest.fixture
def world() -> World:
    return make_hardware().start("no")


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Answer number `row` is the text of that number; one that does not end in a blank ends its sequence."""

    def script(texts: Sequence[str]) -> None:
        def stream(
            _: HFRollouts, model: Any, tokenizer: Any, request: RolloutRequest
        ) -> Iterator[tuple[list[int], Rollout]]:
            ids = [tokenizer(texts[row])["input_ids"] for row in request.rows]
            ended = [
                i if texts[row].endswith(" ") else [*i, tokenizer.eos_token_id]
                for row, i in zip(request.rows, ids, strict=True)
            ]
            yield [*range(len(ids))], collect(request.prompts, ended, [tokenizer.eos_token_id], model.device)

        monkeypatch.setattr(HFRollouts, "stream", stream)

    return script


def box(answer: int) -> str:
    return f"so \\boxed{{ {answer} }}"


BY_HAND = [
    *(box(14), box(14), "now " + box(14), box(15)),  # a right answer counts wherever the box stands
    *(box(14), "so", "now now ", "7"),  # wrong, no box, cut short, and right but not boxed
    *("so ", box(99) + " ", box(9), "\\boxed{"),  # cut, cut after a right box, wrong, box not closed
    *(box(14), box(8), "so "),  # greedy
]


def saved(out: Path) -> tuple[dict[str, Any], list[Sample]]:
    return json.loads((out / "result.json").read_text()), [
        json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()
    ]


def test_by_hand(subject: Subject, world: World, tmp_path: Path, says: Callable[[Sequence[str]], None]) -> None:
    says(BY_HAND)
    result = evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world)
    assert result["outcomes"] == {"correct": 4, "wrong": 3, "no_answer": 3, "truncated": 2, "grader_error": 0}
    assert result["mean"] == pytest.approx(1 / 3)
    assert result["mean_se"] == pytest.approx(math.sqrt(42 / 288 / 3))
    assert result["pass_at"] == pytest.approx({"1": 1 / 3, "2": 1 / 2, "4": 2 / 3})
    assert result["clipped_ratio"] == 3 / 12
    # Greedy: 1, 0, 0; sample variance 1/3; sqrt(1/3 / 3) = 1/3.
    assert result["greedy_outcomes"] == {"correct": 1, "wrong": 1, "no_answer": 0, "truncated": 1, "grader_error": 0}
    assert (result["greedy"], result["greedy_se"]) == pytest.approx((1 / 3, 1 / 3))
    assert (result["benchmark"], result["problems"], result["n"], result["partial"]) == ("small", 3, 4, False)


@pytest.fixture
def thinker(subject: Subject) -> Subject:
    """A model whose marks of reasoning are special tokens."""
    tokenizer = copy.deepcopy(subject.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "<|tool|>"]})
    return Subject(subject.model, tokenizer)


@pytest.mark.parametrize("opened", [True, False])
def test_reasoning_is_judged_from_prompt_and_response(
    opened: bool, thinker: Subject, world: World, tmp_path: Path, says: Callable[[Sequence[str]], None]
) -> None:
    end = box(7) + " </think> " + box(14)
    says([box(14) + " ", "<think> " + box(14) + " ", end, box(14), "<|tool|> " + box(14)])
    one = Bench((Prompt("p", "tom has 14 .", "14"),))
    template = replace(PLAIN, instruction=" <think>" if opened else " <think> so </think>")
    result = evaluate_exam(thinker, Exam(one, replace(HOW, n=5, greedy=False), 0, template), tmp_path / "out", world)
    samples = saved(tmp_path / "out")[1]
    outcomes = [sample["outcome"] for sample in samples]
    if opened:  # whatever stands before </think> is a draft
        assert outcomes == ["truncated", "truncated", "correct", "no_answer", "no_answer"]
    else:
        assert outcomes == ["correct", "truncated", "correct", "correct", "correct"]
    # The stored text says why: it keeps the marks, and no other special token.
    assert "</think>" in samples[2]["response"]
    assert samples[1]["response"].startswith("<think>")
    assert all("<eos>" not in s["response"] and "<|tool|>" not in s["response"] for s in samples)
    assert result["mean"] == outcomes.count("correct") / 5


def test_marks_are_kept_and_other_special_tokens_are_not(thinker: Subject) -> None:
    tokenizer = thinker.tokenizer
    ids = tokenizer("so 14 <|tool|> </think> then 7")["input_ids"] + [tokenizer.eos_token_id]
    assert readable_text(tokenizer, marks(tokenizer), ids) == "so 14</think>then 7"
    assert readable_text(tokenizer, frozenset(), ids) == "so 14 then 7"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|channel|>", "<|message|>", "|"]})
    kept = {tokenizer.convert_ids_to_tokens(i) for i in marks(tokenizer)}
    assert {"<|channel|>", "<|message|>", "<think>", "</think>"} <= kept
    assert not {"<|tool|>", tokenizer.eos_token, tokenizer.pad_token} & kept


def test_result_and_samples_tell_the_same(subject: Subject, world: World, tmp_path: Path) -> None:
    result = evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world)
    written, samples = saved(tmp_path / "out")
    assert written == result
    assert written["grading"] == read_both()
    assert [(s["mode"], s["id"], s["sample"]) for s in samples] == [
        *[("sample", f"p{p}", i) for p in range(3) for i in range(4)],
        *[("greedy", f"p{p}", 0) for p in range(3)],
    ]
    drawn = [s for s in samples if s["mode"] == "sample"]
    assert {o: sum(s["outcome"] == o for s in drawn) for o in OUTCOMES} == result["outcomes"]
    assert sum(result["outcomes"].values()) == 12
    assert sum(result["greedy_outcomes"].values()) == 3
    right = [sum(s["value"] for s in drawn if s["id"] == f"p{p}") for p in range(3)]
    assert (result["mean"], result["mean_se"]) == mean_and_error([c / 4 for c in right])
    assert result["pass_at"]["2"] == mean_and_error([pass_at_k(4, int(c), 2) for c in right])[0]
    for s in samples:
        assert 1 <= s["length"] <= 6
        # A random student never boxes: an answer that was cut is truncated, one that ended has no answer.
        assert s["outcome"] == {"length": "truncated", "eos": "no_answer"}[s["stop"]]
    assert result["first_prompt"] == "tom has 14 ."


def test_an_existing_result_is_returned_as_it_is(
    subject: Subject, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(HFRollouts, "stream", lambda *_: pytest.fail("sampled again"))
    assert evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world) == result
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_an_evaluation_that_was_cut_short_is_done_again(
    subject: Subject, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tipx.evals.runner.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["part-0.jsonl", "samples.jsonl"]
    result = evaluate_exam(subject, Exam(THREE, HOW, 0, PLAIN), tmp_path / "out", world)
    assert saved(tmp_path / "out")[0] == result
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["result.json", "samples.jsonl"]


@pytest.mark.parametrize("torn", ["", '\n{"job": 14, "ans'])
def test_a_stopped_evaluation_goes_on_where_it_was(
    torn: str, subject: Subject, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = Exam(THREE, replace(HOW, sampling=replace(SAMPLING, batch_size=4)), 0, PLAIN)
    whole = evaluate_exam(subject, exam, tmp_path / "whole", world)
    asked: list[list[int]] = []
    real = HFRollouts.stream

    def stream(
        how: HFRollouts, model: Any, tokenizer: Any, request: RolloutRequest
    ) -> Iterator[tuple[list[int], Rollout]]:
        asked.append(list(request.rows))
        for number, part in enumerate(real(how, model, tokenizer, request)):
            if len(asked) == 1 and number == 1:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(HFRollouts, "stream", stream)
    with pytest.raises(KeyboardInterrupt):
        evaluate_exam(subject, exam, tmp_path / "out", world)
    with (tmp_path / "out" / "part-0.jsonl").open("a") as file:
        file.write(torn)
    ticks: list[int] = []
    result = evaluate_exam(subject, exam, tmp_path / "out", world, ticks.append)
    left = asked[1] + asked[2]
    assert set(left) < set(range(15))
    assert (ticks[0], sum(ticks), result["answers_before"]) == (15 - len(left), 15, 15 - len(left))
    assert ticks[0] > 0
    timing = {"seconds", "tokens_per_s", "answers_before"}
    assert {k: v for k, v in result.items() if k not in timing} == {k: v for k, v in whole.items() if k not in timing}
    assert saved(tmp_path / "out")[1] == saved(tmp_path / "whole")[1]


@pytest.mark.parametrize(("limit", "partial"), [(2, True), (3, False), (5, False), (None, False)])
def test_a_part_of_the_problems_is_marked(
    limit: int | None, partial: bool, subject: Subject, world: World, tmp_path: Path
) -> None:
    how = replace(HOW, limit=limit, n=2, greedy=False)
    ticks: list[int] = []
    result = evaluate_exam(subject, Exam(THREE, how, 0, PLAIN), tmp_path / "out", world, ticks.append)
    count = min(limit or 3, 3)
    assert (result["problems"], result["partial"]) == (count, partial)
    assert {s["id"] for s in saved(tmp_path / "out")[1]} == {f"p{i}" for i in range(count)}
    assert sum(ticks) == Exam(THREE, how, 0, PLAIN).answers == 2 * count
    assert "greedy" not in result


def test_one_problem_has_no_standard_error(subject: Subject, world: World, tmp_path: Path) -> None:
    result = evaluate_exam(subject, Exam(THREE, replace(HOW, limit=1), 0, PLAIN), tmp_path / "out", world)
    assert result["mean_se"] is None
    assert result["greedy_se"] is None


def test_no_problems_are_no_accuracy(subject: Subject, world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="benchmark=small: holds no problems; expected at least one"):
        evaluate_exam(subject, Exam(Bench(()), HOW, 0, PLAIN), tmp_path / "out", world)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_the_grader_cannot_judge_is_counted(
    subject: Subject,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: Callable[[Sequence[str]], None],
) -> None:
    monkeypatch.setattr(Grader, "_compare", lambda _, pairs: [None] * len(pairs))
    says([box(4)] * 2)
    half = Bench((Prompt("a", "tom has 1 .", "\\sqrt{2}"),))
    result = evaluate_exam(subject, Exam(half, replace(HOW, n=1), 0, PLAIN), tmp_path / "out", world)
    assert result["outcomes"]["grader_error"] == result["greedy_outcomes"]["grader_error"] == 1
    assert result["mean"] == 0


def run(
    subject: Subject, how: Evaluation, seed: int, folder: Path, world: Any, tick: Callable[[int], None] | None = None
) -> list[Sample]:
    return run_all(subject, Exam(THREE, how, seed, PLAIN), {}, Journal(folder, world), tick)


def test_batches_and_processes_change_nothing(subject: Subject, world: World, tmp_path: Path) -> None:
    whole = run(subject, HOW, 3, tmp_path / "whole", world)
    for size in (1, 5):
        how = replace(HOW, sampling=replace(SAMPLING, batch_size=size))
        assert run(subject, how, 3, tmp_path / str(size), world) == whole
    # Two processes: what one has gathered, then what both have.
    gathered: list[Any] = []

    class Half:
        size = 2

        def __init__(self, rank: int) -> None:
            self.rank = rank

        def gather_list(self, local: list[Any]) -> list[Any]:
            gathered.extend(local)
            return list(gathered)

    ticks: list[int] = []
    first = run(subject, HOW, 3, tmp_path / "two", Half(0), ticks.append)
    assert sum(ticks) == 2 * len(first)  # the bar is that of all
    assert 0 < len(first) < len(whole)
    assert run(subject, HOW, 3, tmp_path / "two", Half(1)) == whole
    # One process goes on from what two have left, and two from what one has.
    left = Journal(tmp_path / "two", world).read()
    assert [left[job] for job in range(len(whole))] == whole
    parts = []
    for rank in range(2):
        gathered.clear()
        parts.append(Journal(tmp_path / "two", Half(rank)).read())  # type: ignore[arg-type]
    assert parts[0] | parts[1] == left
    assert not parts[0].keys() & parts[1].keys()


def test_seeds_draw_other_samples_and_the_same_greedy_answers(subject: Subject, world: World, tmp_path: Path) -> None:
    one, two = (run(subject, HOW, seed, tmp_path / str(seed), world) for seed in (1, 2))
    assert [s["response"] for s in one[:12]] != [s["response"] for s in two[:12]]
    assert one[12:] == two[12:]


def test_other_settings_never_share_a_folder() -> None:
    base = Exam(THREE, HOW, 0, PLAIN).folder_name
    others = [
        Exam(THREE, replace(HOW, n=2), 0, PLAIN).folder_name,
        Exam(THREE, replace(HOW, greedy=False), 0, PLAIN).folder_name,
        Exam(THREE, replace(HOW, limit=2), 0, PLAIN).folder_name,
        Exam(THREE, replace(HOW, sampling=replace(SAMPLING, temperature=0.5)), 0, PLAIN).folder_name,
        Exam(THREE, replace(HOW, sampling=replace(SAMPLING, max_new_tokens=7)), 0, PLAIN).folder_name,
        Exam(THREE, HOW, 1, PLAIN).folder_name,
        Exam(THREE, HOW, 0, replace(PLAIN, instruction="!")).folder_name,
    ]
    assert len({base, *others}) == 1 + len(others)
    assert base.startswith("small-")
    assert Exam(THREE, replace(HOW, sampling=replace(SAMPLING, batch_size=1)), 0, PLAIN).folder_name == base


def test_the_embedded_benchmark_s_own_solutions_are_all_right(
    subject: Subject, world: World, tmp_path: Path, says: Callable[[Sequence[str]], None]
) -> None:
    benchmark = Arithmetic(name="arithmetic", size=512)
    says([p.solution for p in PROBLEMS.held_out(512)])
    result = evaluate_exam(subject, Exam(benchmark, replace(HOW, n=1, greedy=False), 0, PLAIN), tmp_path / "out", world)
    assert (result["problems"], result["mean"], result["outcomes"]["correct"]) == (512, 1.0, 512)
    assert len({p.id for p in benchmark.load(None)}) == 512


def test_the_embedded_benchmark_has_as_many_problems_as_it_says() -> None:
    with pytest.raises(DataError, match=r"benchmark\.size: expected 500 problems, the embedded set has 512"):
        Arithmetic(name="arithmetic", size=500).load(None)
