"""`tipx compare`: which results are compared, which are refused and why, and when a difference is noise."""

import json
from pathlib import Path
from typing import Any

import pytest

from tipx.errors import Damaged, DataError, RunError
from tipx.report.comparison import benchmark_of, compare
from tipx.runs.mark import MARK

BASE: dict[str, Any] = {
    "benchmark": "aime24", "problems": 20, "problems_sha256": "s", "n": 2, "temperature": 1.0, "top_p": 1.0, "top_k": 0,
    "max_new_tokens": 8, "template": {"chat": True, "thinking": None},
}  # fmt: skip


def result(folder: Path, right: int, problems: int = 20, **facts: Any) -> str:
    """A result in which the first `right` problems are solved."""
    folder.mkdir(parents=True)
    values = [float(i < right) for i in range(problems)]
    n = facts.get("n", BASE["n"])
    lines = [{"mode": "sample", "id": str(i), "value": v} for i, v in enumerate(values) for _ in range(n)]
    lines += [{"mode": "greedy", "id": str(i), "value": v} for i, v in enumerate(values)]
    mean = sum(values) / problems
    (folder / "result.json").write_text(json.dumps(BASE | {"mean": mean, "greedy": mean} | facts))
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder)


def test_a_clear_difference(tmp_path: Path) -> None:
    a, b = result(tmp_path / "a", 2), result(tmp_path / "b", 14)
    (found,) = compare(a, f"{b}/result.json", None, tmp_path)
    assert found.sampled.difference == pytest.approx(0.6)
    assert found.greedy is not None
    assert (found.greedy.only_a, found.greedy.only_b) == (0, 12)
    assert found.noise == []
    assert json.loads(json.dumps(found.record()))["a"]["mean"] == 0.1


def test_noise_is_said(tmp_path: Path) -> None:
    a, b = result(tmp_path / "a", 10), result(tmp_path / "b", 11)
    (found,) = compare(a, b, "aime24", tmp_path)
    assert "the 95% interval includes 0" in found.noise
    (none,) = compare(a, a, None, tmp_path)
    assert any("sd 0.77 points" in reason for reason in none.noise)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"n": 4}, "n is 2 and 4"),
        ({"temperature": 0.6}, "temperature is 1.0 and 0.6"),
        ({"problems_sha256": "t"}, "problems_sha256 is 's' and 't'"),
        ({"template": {"chat": True, "thinking": True}}, "template.thinking is None and True"),
        ({"benchmark": "aime25"}, "benchmark is 'aime24' and 'aime25'"),
        ({"grading": {"version": 2, "readings": {}}}, "versions 1 and 2 of the grader; remove the older result"),
    ],
)
def test_what_is_not_comparable_is_refused_by_name(facts: dict[str, Any], words: str, tmp_path: Path) -> None:
    a, b = result(tmp_path / "a", 2), result(tmp_path / "b", 2, **facts)
    with pytest.raises(DataError, match="cannot be compared") as caught:
        compare(a, b, None, tmp_path)
    assert words in str(caught.value)


def test_results_of_one_grader_are_compared(tmp_path: Path) -> None:
    old, same = result(tmp_path / "a", 2), result(tmp_path / "b", 2, grading={"version": 1, "readings": {}})
    new = result(tmp_path / "c", 2, grading={"version": 2, "readings": {"text": "one way"}})
    other = result(tmp_path / "d", 2, grading={"version": 2, "readings": {"text": "said in other words"}})
    assert compare(old, same, None, tmp_path)
    assert compare(new, other, None, tmp_path)


def test_a_folder_of_results_is_compared_where_both_fit(tmp_path: Path) -> None:
    for side, right in (("a", 2), ("b", 12)):
        result(tmp_path / side / "aime24-1", right)
        result(tmp_path / side / "math500-1", right, benchmark="math500")
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), None, tmp_path)
    assert [one.benchmark for one in found] == ["aime24", "math500"]
    (one,) = compare(str(tmp_path / "a"), str(tmp_path / "b"), "math500", tmp_path)
    assert one.benchmark == "math500"


def test_a_run_is_its_last_evaluation(tmp_path: Path) -> None:
    for name, right in (("x", 3), ("y", 13)):
        run = tmp_path / "runs" / "solo" / name
        for step, count in ((0, 1), (100, right)):
            result(run / "evals" / f"{step:06d}" / "aime24-1", count)
        (run / MARK).touch()
    (found,) = compare("x", "y", None, tmp_path / "runs")
    assert found.sampled.difference == pytest.approx(0.5)


def test_what_is_not_there(tmp_path: Path) -> None:
    a = result(tmp_path / "a", 2)
    with pytest.raises(RunError, match="'nope' is no run"):
        compare(a, "nope", None, tmp_path)
    with pytest.raises(RunError, match=r"no result of benchmark=gsm8k; `tipx eval"):
        compare(a, a, "gsm8k", tmp_path)
    with pytest.raises(DataError, match="expected benchmark=NAME"):
        benchmark_of(["bench=x"])
    (tmp_path / "a" / "samples.jsonl").unlink()
    with pytest.raises(Damaged, match=r"samples\.jsonl is damaged: it cannot be read \(No such file"):
        compare(a, a, None, tmp_path)
