"""Numbers that the concept pages work out by hand are those that the code gives."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, TopKDivergence
from tipx.selectors.normalise import min_max
from tipx.stats.clustered import adjust_holm
from tipx.stats.estimates import pass_at_k

FOLDER = Path(__file__).parent.parent.parent / "docs" / "concepts"
JSD = GeneralisedJSD(beta=0.5)
CUT = ([0.30, 0.30, 0.40], [0.45, 0.45, 0.10])
"""Student and teacher of the examples of top-k."""


def page(name: str) -> str:
    """A page as one line."""
    return " ".join((FOLDER / f"{name}.md").read_text().split())


def logs(*rows: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor([row], dtype=torch.float64).log() for row in rows)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


@pytest.mark.parametrize(
    ("start", "student"), [("one good word only:", [0.96, 0.02, 0.02]), ("a third each:", [1 / 3, 1 / 3, 1 / 3])]
)
def test_divergences_of_two_students(start: str, student: list[float]) -> None:
    student_NV, teacher_NV = logs(student, [0.49, 0.02, 0.49])
    (cells,) = re.findall(rf"\| {start} \([^)]*\) \|([^|]*)\|([^|]*)\|([^|]*)\|", page("divergences"))
    values = [round(float(kind(student_NV, teacher_NV)), 2) for kind in (ReverseKL(), ForwardKL(), JSD)]
    assert numbers(" ".join(cells)) == values


@pytest.mark.parametrize(
    ("start", "kind"), [("reverse KL", ReverseKL()), ("forward KL", ForwardKL()), ("JSD, $\\beta = 0.5$", JSD)]
)
def test_gradients_where_the_student_is_sure_and_wrong(start: str, kind: TokenDivergence) -> None:
    student_NV, teacher_NV = logs([0.98, 0.01, 0.01], [0.01, 0.98, 0.01])
    value = float(kind(student_NV, teacher_NV))
    slope_N1 = kind.slope(student_NV, teacher_NV)[:, None]
    wrong, right, _ = kind.gradient(student_NV.clone(), teacher_NV.clone(), slope_N1)[0].tolist()
    said = f"| {start} | {value:.2f} | {wrong:.3f} | {right:.3f} |"
    assert said in page("divergences")


def test_top_k() -> None:
    student_NV, teacher_NV = logs(*CUT)
    cut_off = float((student_NV.exp() * (student_NV - teacher_NV))[0, :2].sum())
    tail, bare = (
        float(TopKDivergence(base=ReverseKL(), k=2, support="teacher", tail=tail)(student_NV, teacher_NV))
        for tail in (True, False)
    )
    assert f"The cut-off sum is {cut_off:.2f}:" in page("divergences")
    assert f"With the tail, tipx gives {tail:.2f}, as over" in page("divergences")
    assert tail == pytest.approx(float(ReverseKL()(student_NV, teacher_NV)), abs=1e-5)
    assert bare == pytest.approx(0, abs=1e-12)


def test_minimum_and_maximum_of_a_step_and_of_micro_batches() -> None:
    values_BT = torch.tensor([[0.0, 1.0], [4.0, 8.0]])
    everything_BT = torch.ones_like(values_BT, dtype=torch.bool)
    assert min_max(values_BT, everything_BT, 1.0).flatten().tolist() == [0, 0.125, 0.5, 1]
    assert [min_max(row, row >= 0, 1.0).tolist() for row in values_BT.split(1)] == [[[0, 1]], [[0, 1]]]
    assert "min-max gives 0, 0.125, 0.5, 1. In each micro-batch alone it gives 0, 1, 0, 1." in page("denominators")


def test_estimates_and_adjustment() -> None:
    k_1, k_2, k_4 = (pass_at_k(4, 1, k) for k in (1, 2, 4))
    assert f"pass@1 = {k_1:.2f}, pass@2 = {k_2:.2f} and pass@4 = {k_4:.0f}" in page("statistics")
    adjusted = ", ".join(f"{p:.2f}" for p in adjust_holm([0.01, 0.02, 0.04, 0.30]))
    assert f"From 0.01, 0.02, 0.04, 0.30 come {adjusted}." in page("statistics")


def test_the_power_that_is_printed() -> None:
    text = (FOLDER / "statistics.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    (row,) = re.findall(r"^\| 3 \|([ \d|]+)\|$", text, re.MULTILINE)
    printed = [int(cell) / 100 for cell in row.split("|")]
    few = [names["power"](3, true, trials=200) for true in (0, 2, 4, 6, 8)]
    # The page has 1,000 experiments; the standard deviation of a share of 200 is at most 0.035.
    assert few == pytest.approx(printed, abs=0.12)
