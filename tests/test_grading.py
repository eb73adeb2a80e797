"""Is an answer right? Pairs of response and gold, and answers that would hang or crash a grader."""

import multiprocessing
import random
import time
from collections.abc import Iterator

import pytest

from tipx import grading
from tipx.grading import BOX, OUTCOMES, Grade, Grader, grader, last_boxed


def boxed(answer: str) -> str:
    return f"so it is \\boxed{{{answer}}}."


@pytest.fixture(scope="module")
def judge() -> Iterator[Grader]:
    with grader() as one:
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
        ("\\boxed 1", None),
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
    ("0 \\le x \\le 1", "[0,1]"),  # not the other way round: the gold answer comes first
    ("\\foo ??", "\\foo ??"),  # the same text needs no mathematics
]
WRONG = [
    ("17", "18"),
    ("2", "x"),
    ("\\frac{1}{2}", "0.51"),
    ("42", "42.0000001"),
    ("5", "4.999"),
    ("5", "\\text{five}"),
    ("(1,2)", "(2,1)"),
    ("x+1", "x-1"),
    ("[0,1]", "0 \\le x \\le 1"),
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


@pytest.mark.parametrize("response", ["17", "the answer is 17", "\\boxed{17", "\\boxed{}", "\\boxed{ }", ""])
@pytest.mark.parametrize(("truncated", "outcome"), [(False, "no_answer"), (True, "truncated")])
def test_no_box_is_no_answer(response: str, truncated: bool, outcome: str, judge: Grader) -> None:
    assert judge.grade(response, "17", truncated=truncated) == Grade(0.0, None, outcome)


@pytest.mark.parametrize("gold", ["", "   "])
def test_a_gold_answer_that_cannot_be_read_is_the_graders_fault(gold: str, judge: Grader) -> None:
    assert judge.grade(boxed("5"), gold, truncated=False) == Grade(0.0, "5", "grader_error")


def test_integers_need_no_worker() -> None:
    with grader() as one:
        assert one.grade(boxed("073"), "73", truncated=False).outcome == "correct"
        assert one.grade(boxed("74"), "73", truncated=False).outcome == "wrong"
        assert one.grade("74", "73", truncated=False).outcome == "no_answer"
        assert one._pool is None


@pytest.mark.timeout(300)
def test_an_answer_that_hangs_is_cut_off_and_the_next_is_graded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "DEADLINE_S", 2.0)
    with grader() as one:
        start = time.perf_counter()
        assert one.grade(boxed("9^{9^{9^9}}"), "5", truncated=False) == Grade(0.0, "9^{9^{9^9}}", "grader_error")
        assert time.perf_counter() - start > 1.9
        monkeypatch.setattr(grading, "DEADLINE_S", 100.0)
        assert one.grade(boxed("0.5"), "\\frac12", truncated=False).outcome == "correct"


def test_the_worker_is_gone_afterwards() -> None:
    before = set(multiprocessing.active_children())
    with grader() as one:
        assert one.grade(boxed("0.5"), "\\frac12", truncated=False).outcome == "correct"
        assert set(multiprocessing.active_children()) > before
    assert set(multiprocessing.active_children()) == before


def test_outcomes_are_those_of_the_type() -> None:
    assert OUTCOMES == ("correct", "wrong", "no_answer", "truncated", "grader_error")
