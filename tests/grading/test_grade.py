"""Is an answer right? Pairs of response and gold, and answers that would hang or crash a grader."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pebble import ProcessExpired

from tipx.grading import grade as grading
from tipx.grading.answers import MARKS, last_boxed
from tipx.grading.grade import OUTCOMES, Answer, Grade, Grader, read_both, start_grader

BOX = "\\boxed{"
PAIRS = [json.loads(line) for line in (Path(__file__).parent / "grading_pairs.jsonl").read_text("utf-8").splitlines()]
"""Gold answers and answers of every kind; `right` was decided by hand."""


def boxed(answer: str) -> str:
    return f"so it is \\boxed{{{answer}}}."


@pytest.fixture(scope="module")
def judge() -> Iterator[Grader]:
    with start_grader() as one:
        yield one


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not turn an answer into a grader error."""
    monkeypatch.setattr(grading, "DEADLINE_S", 200.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\boxed{ 17 }", "17"),
        ("\\boxed{1} then \\boxed{2}", "2"),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("\\boxed{a{b{c}d}e} \\boxed{unclosed", "a{b{c}d}e"),
        ("\\boxed{1} \\boxed{{2}", "1"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{x \\boxed{y}", "y"),
        ("\\boxed{\\boxed{x} y", "x"),
        ("} } \\boxed{3} }", "3"),
        ("{ \\boxed{4}", "4"),
        ("\\boxed{}", ""),
        ("\\boxed{   }", ""),
        ("\\boxed{unclosed", None),
        ("boxed{1}", None),
        ("\\boxed 1", "1"),
        ("\\boxed1", "1"),
        ("\\boxed -12.5.", "-12.5"),
        ("\\boxed 2$.", "2"),
        ("\\boxed x", "x"),
        ("\\boxed xy", None),
        ("\\boxed", None),
        ("\\boxed {42}", "42"),
        ("\\boxed\n{42}", "42"),
        ("\\fbox{18}", "18"),
        ("\\fbox{\\boxed{18}}", "18"),
        ("\\framebox{18}", "18"),
        ("\\boxed{1} \\boxed 2", "2"),
        ("\\boxed 1 \\boxed{2}", "2"),
        ("\\boxedly{1}", None),
        ("no box", None),
        ("", None),
    ],
)
def test_last_boxed(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


def slow_last_boxed(text: str) -> str | None:
    """The definition, word by word: the last opened box that closes."""
    for start in range(len(text), -1, -1):
        if text.startswith(BOX, start):
            depth, begin = 1, start + len(BOX)
            for end in range(begin, len(text)):
                depth += (text[end] == "{") - (text[end] == "}")
                if depth == 0:
                    return text[begin:end].strip()
    return None


def test_last_boxed_is_its_definition() -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices([BOX, "{", "}", "x", " "], k=rng.randrange(12))) for _ in range(3000)]
    for text in texts:
        assert last_boxed(text) == slow_last_boxed(text), text
    assert sum(last_boxed(text) is not None for text in texts) > 500


def test_a_response_that_repeats_itself_is_read_once() -> None:
    # 100,000 boxes that never close: in time quadratic in them this would take hours.
    start = time.process_time()
    assert last_boxed("\\boxed{7} " + BOX * 100_000) == "7"
    assert time.process_time() - start < 10


RIGHT = [
    ("\\frac{3}{4}", "\\dfrac34"),
    ("\\frac{7}{2}", "3\\frac{1}{2}"),
    ("3.5", "3 1/2"),
    ("-\\frac12", "\\frac{-1}{2}"),
    ("10000", "10\\,000"),
    ("10{,}000", "$10,\\!000$"),
    ("50\\%", "50"),
    ("60^\\circ", "60"),
    ("336", "336^{\\circ}"),
    ("18", "\\$18"),
    ("12\\text{ cm}", "12"),
    ("\\text{Evelyn}", "Evelyn"),
    ("\\text{even}", "\\textbf{even}"),
    ("\\text{(C)}", "C"),
    ("5", "**5**"),
    ("5", "x = 5"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\tfrac{\\pi}{2})"),
    ("(-\\infty, 2) \\cup (3, \\infty)", "(-\\infty,2)\\cup(3,\\infty)"),
    ("1,2,3", "\\{3,1,2\\}"),
    ("6 - 5i", "-5i+6"),
    ("2\\sqrt3", "\\sqrt{12}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{bmatrix} 1 \\\\ 2 \\end{bmatrix}"),
    ("100!", "100!"),
    ("17", "17"),
    ("73", "073"),  # AIME writes three digits
    ("073", "73"),
    ("5", "+5"),
    ("-5", "-05"),
    ("\\frac{1}{2}", "0.5"),
    ("1/2", "\\frac{2}{4}"),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("5", "5.0"),
    ("1000", "1,000"),
    ("(1,2)", "(1, 2)"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("x+1", "1+x"),
    ("3", "3\\text{ cm}"),
    ("0 \\le x \\le 1", "[0,1]"),
    ("[0,1]", "0 \\le x \\le 1"),
    ("\\foo ??", "\\foo ??"),  # the same text needs no mathematics
]
WRONG = [
    ("\\frac{3}{4}", "\\frac{4}{3}"),
    ("1/2", "1/3"),
    ("3 1/2", "31/2"),
    ("10000", "10,00"),
    ("50\\%", "0.5"),
    ("[0,1)", "[0,1]"),
    ("1,6", "1"),
    ("5", "5 \\text{ or } 6"),
    ("\\text{Monday}", "Tuesday"),
    ("5", "x" * 100_000),
    ("5", "5 + 0" + " + 0" * 400),  # right, and no final answer
    ("5", "(" * 300 + "5" + ")" * 300),
    ("5", "9" * 5_000),
    ("5", "\\sqrt{" * 90 + "25" + "}" * 90),
    ("5", "1/0"),
    ("17", "18"),
    ("2", "x"),
    ("\\frac{1}{2}", "0.51"),
    ("42", "42.0000001"),
    ("5", "4.999"),
    ("5", "\\text{five}"),
    ("(1,2)", "(2,1)"),
    ("x+1", "x-1"),
    ("5", "\\int"),
    ("5", "??"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_right(gold: str, answer: str, judge: Grader) -> None:
    # A cut response that did box its answer counts.
    for truncated in (False, True):
        response = f"\\boxed{{wrong}} {boxed(answer)}"
        assert judge.grade(response, gold, truncated=truncated) == Grade(1.0, answer, "correct")


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_wrong(gold: str, answer: str, judge: Grader) -> None:
    # The right answer before the last box, or outside any, does not count.
    response = f"\\boxed{{{gold}}} {gold} {boxed(answer)} {gold}"
    assert judge.grade(response, gold, truncated=False) == Grade(0.0, answer, "wrong")


def test_pairs_decided_by_hand(judge: Grader) -> None:
    grades = judge.grade_all([Answer(boxed(pair["answer"]), pair["gold"], truncated=False) for pair in PAIRS])
    amiss = [
        (pair["gold"], pair["answer"], grade.outcome)
        for pair, grade in zip(PAIRS, grades, strict=True)
        if grade.outcome != ("correct" if pair["right"] else "wrong")
    ]
    assert amiss == []
    assert len(PAIRS) > 600
    for kind, count in Counter(pair["kind"] for pair in PAIRS).items():
        assert kind.startswith("hard") or {pair["right"] for pair in PAIRS if pair["kind"] == kind} == {True, False}, (
            count
        )


def test_a_gold_answer_equals_itself(judge: Grader) -> None:
    golds = sorted({pair["gold"] for pair in PAIRS})
    grades = judge.grade_all([Answer(boxed(gold), gold, truncated=False) for gold in golds])
    assert {grade.outcome for grade in grades} == {"correct"}


@pytest.mark.parametrize("response", ["17", "the answer is 17", "\\boxed{17", "\\boxed{}", "\\boxed{ }", ""])
@pytest.mark.parametrize(("truncated", "outcome"), [(False, "no_answer"), (True, "truncated")])
def test_no_box_is_no_answer(response: str, truncated: bool, outcome: str, judge: Grader) -> None:
    assert judge.grade(response, "17", truncated=truncated) == Grade(0.0, None, outcome)


@pytest.mark.parametrize("gold", ["", "   ", "\\int_0^1 f(x)dx", "x \\oplus y"])
def test_a_gold_answer_that_cannot_be_read_is_the_graders_fault(gold: str, judge: Grader) -> None:
    assert judge.grade(boxed("5"), gold, truncated=False) == Grade(0.0, "5", "grader_error")


def test_integers_need_no_worker() -> None:
    with start_grader() as one:
        assert one.grade(boxed("073"), "73", truncated=False).outcome == "correct"
        assert one.grade(boxed("74"), "73", truncated=False).outcome == "wrong"
        assert one.grade("74", "73", truncated=False).outcome == "no_answer"
        assert one.pool is None


def hang(_gold: str, _answer: str, seconds: float) -> None:
    """Works for ever, as `equal` would."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    while True:
        pass


def die_once(gold: str, _answer: str, _seconds: float) -> bool:
    """What the system does to a worker that takes too much memory, the first time."""
    if not Path(gold).exists():
        Path(gold).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def die(_gold: str, _answer: str, _seconds: float) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


@pytest.mark.timeout(300)
def test_a_worker_that_the_system_killed_gets_one_more_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with start_grader() as one:
        monkeypatch.setattr(grading, "answers_equal", die_once)
        assert one.grade(boxed("x"), str(tmp_path / "died"), truncated=False).outcome == "correct"
        monkeypatch.setattr(grading, "answers_equal", die)
        assert one.grade(boxed("x"), "\\pi", truncated=False).outcome == "grader_error"


def test_a_deadline_gets_no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(_: Grader, pair: tuple[str, str]) -> Future[Any]:
        asked.append(pair)
        future: Future[Any] = Future()
        future.set_exception(ProcessExpired("died", code=-signal.SIGPROF))
        return future

    monkeypatch.setattr(Grader, "_ask", ask)
    with start_grader() as one:
        assert one.grade(boxed("x"), "\\pi", truncated=False).outcome == "grader_error"
    assert asked == [("\\pi", "x")]


@pytest.mark.timeout(300)
def test_an_answer_that_hangs_is_cut_off_and_the_next_is_graded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "DEADLINE_S", 2.0)
    with start_grader() as one:
        start = time.perf_counter()
        monkeypatch.setattr(grading, "answers_equal", hang)
        assert one.grade(boxed("1 + \\sqrt3"), "\\sqrt{2}", truncated=False) == Grade(
            0.0, "1 + \\sqrt3", "grader_error"
        )
        assert time.perf_counter() - start > 1.9
        monkeypatch.undo()
        monkeypatch.setattr(grading, "DEADLINE_S", 100.0)
        assert one.grade(boxed("1 + \\sqrt2"), "\\sqrt{2} + 1", truncated=False).outcome == "correct"


def test_the_worker_is_gone_afterwards() -> None:
    before = set(multiprocessing.active_children())
    with start_grader() as one:
        assert one.grade(boxed("1 + \\sqrt2"), "\\sqrt{2} + 1", truncated=False).outcome == "correct"
        assert set(multiprocessing.active_children()) > before
    assert set(multiprocessing.active_children()) == before


def test_outcomes_are_those_of_the_type() -> None:
    assert OUTCOMES == ("correct", "wrong", "no_answer", "truncated", "grader_error")


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        ("<think>\\boxed{17}</think> so \\boxed{18}", "wrong"),
        ("<think>\\boxed{18}</think> so \\boxed{17}", "correct"),
        ("maybe \\boxed{17}</think> so it is 17", "no_answer"),  # the prompt opened it
        ("<think> maybe \\boxed{17} or", "no_answer"),
        ("\\boxed{16} no, \\boxed{17}", "correct"),
        ("\\boxed{17} no, \\boxed{16", "correct"),
        ("17", "no_answer"),
    ],
)
def test_what_stands_in_the_reasoning_is_no_answer(response: str, outcome: str, judge: Grader) -> None:
    assert judge.grade(response, "17", truncated=False).outcome == outcome


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_what_is_reasoning_prompt_and_response_say_together(opening: str, closing: str, judge: Grader) -> None:
    prompt = f"<|assistant|>{opening}\n"
    draft, end = "maybe \\boxed{17} or", f"\\boxed{{18}}{closing} so \\boxed{{17}}"
    # The box of an unfinished reasoning is a draft, cut off or not.
    assert judge.grade(draft, "17", truncated=True, prompt=prompt) == Grade(0.0, None, "truncated")
    assert judge.grade(draft, "17", truncated=False, prompt=prompt) == Grade(0.0, None, "no_answer")
    assert judge.grade(end, "17", truncated=True, prompt=prompt) == Grade(1.0, "17", "correct")
    assert judge.grade(f"{opening}{draft}", "17", truncated=True) == Grade(0.0, None, "truncated")
    assert judge.grade(f"{end} {opening} or \\boxed{{18}}", "17", truncated=True).outcome == "correct"
    # A prompt in which the reasoning is over, or only spoken of, opens none.
    for closed in (f"{prompt}\n{closing}\n\n", f"Write {opening} before you think, {closing} after it.", ""):
        assert judge.grade(draft, "17", truncated=True, prompt=closed) == Grade(1.0, "17", "correct")


def test_a_result_says_which_readings_were_taken() -> None:
    assert read_both()["version"] == 2
    assert json.loads(json.dumps(read_both())) == read_both()
    assert {"decimal", "unit", "percent", "order"} <= read_both()["readings"].keys()


HOSTILE = (
    *(
        "1000000!",
        "1000000!!",
        "\\binom{91900000}{41900000}",
        "9^{9^{9^9}}",
        "10^{10^{10}}",
        "9^{99999999}!",
        "2^{0.5^{-99}}",
    ),
    *("\\sqrt" * 150 + "2", "-" * 900 + "1", "(" * 29 + "9" * 900 + ")" * 29, "x^" * 300 + "2", "\\frac" * 150 + "1"),
    *(
        "," * 900,
        ",".join("1" * 450),
        "\\pm 1" * 100,
        "(1\\pm" * 25 + "1" + ")" * 25,
        "9" * 900 + "^{9999}",
        "1e999999999",
    ),
    *(
        "\\begin{pmatrix}" * 50,
        "x_{" * 25,
        "|" * 900,
        "!" * 900,
        "5" + "!" * 900,
        "\x00\ufffe",
        "1/0",
        "0^{-1}",
        "\\infty-\\infty",
    ),
    *(
        "\\log 0",
        "\\tan 90^\\circ",
        "\\gcd(1,x)",
        "\\max()",
        "\\sqrt[0]{2}",
        "\\sqrt[10^{9}]{2}",
        "\\sin 10^{99}",
        "0^{0}",
    ),
)


def test_hostile_answers_are_wrong_and_quick(judge: Grader) -> None:
    start = time.process_time()
    for gold in ("\\sqrt{2} + 1", "(1,2)", "x + 7"):
        grades = judge.grade_all([Answer(boxed(text), gold, truncated=False) for text in HOSTILE])
        assert {grade.value for grade in grades} == {0.0}
        assert Counter(grade.outcome for grade in grades)["grader_error"] == 0
    assert time.process_time() - start < 5


@pytest.mark.parametrize("hostile", ["1000000!", "\\binom{91900000}{41900000}", "9^{9^{9^9}}"])
def test_malice_costs_its_deadline_and_nothing_else(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "DEADLINE_S", 2.0)
    with start_grader() as one:
        start = time.process_time()
        answers = [Answer(boxed(text), "\\sqrt{2} + 1", truncated=False) for text in (hostile, "1 + \\sqrt2", hostile)]
        outcomes = [grade.outcome for grade in one.grade_all(answers)]
        assert outcomes[1] == "correct"
        assert outcomes[0] == outcomes[2] in ("grader_error", "wrong")
        assert time.process_time() - start < 5


def test_equal_pairs_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def compare(_: Grader, pairs: list[tuple[str, str]]) -> list[bool]:
        asked.extend(pairs)
        return [True] * len(pairs)

    monkeypatch.setattr(Grader, "_compare", compare)
    with start_grader() as one:
        answers = [Answer(boxed(text), "\\pi", truncated=False) for text in ("x", "y", "x", "\\pi", "3.5")]
        assert [grade.outcome for grade in one.grade_all(answers * 2)] == ["correct"] * 10
        one.grade_all(answers)
    assert asked == [("\\pi", "x"), ("\\pi", "y"), ("\\pi", "3.5")]


def test_a_full_cache_is_emptied_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "CACHE", 2)
    asked: list[list[str]] = []

    def compare(_: Grader, pairs: list[tuple[str, str]]) -> list[bool]:
        asked.append([answer for _, answer in pairs])
        return [answer != "z" for _, answer in pairs]

    monkeypatch.setattr(Grader, "_compare", compare)
    with start_grader() as one:
        for texts in (("x", "y"), ("y", "z"), ("z", "y")):
            grades = one.grade_all([Answer(boxed(text), "\\pi", truncated=False) for text in texts])
            assert [grade.value for grade in grades] == [float(text != "z") for text in texts]
    # The third answer does not fit beside the first two: y, which was known, is compared again.
    assert asked == [["x", "y"], ["y", "z"], []]
