"""What a reader is told of a run whose files a test wrote."""

import json
from pathlib import Path

import pytest

from tipx.errors import RunError
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun, stored_runs

CONFIG = {
    "seed": 3,
    "loop": {"steps": 4},
    "model": {"student": {"path": "s"}, "teacher": {"path": "t"}},
    "selector": {"score": {"_target_": "a"}, "pick": {"_target_": "b", "layers": [1, 2]}},
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "solo" / "made-0badcafe", CONFIG, {"commit": "c0ffee"})


def measure(run: Run, step: int, mean: float) -> None:
    folder = run.eval_dir(step) / "math500-abcdef"
    folder.mkdir(parents=True)
    facts = {"benchmark": "math500", "problems": 1, "n": 1, "mean": mean}
    (folder / "result.json").write_text(json.dumps(facts))


def test_the_last_result_is_of_the_last_measured_step_and_a_report_takes_that_of_the_last_planned(run: Run) -> None:
    for step, mean in ((0, 0.1), (4, 0.4), (1000000, 0.9), (999999, 0.8)):
        measure(run, step, mean)
    (run.path / "evals" / ".000007.unused" / "math500-abcdef").mkdir(parents=True)
    (run.path / "evals" / ".000007.unused" / "math500-abcdef" / "result.json").touch()
    stored = StoredRun(run)
    assert stored.evaluated_steps == [0, 4, 999999, 1000000]
    found = [stored.first_results, stored.results, stored.last_results]
    assert [result.facts["mean"] for (result,) in found] == [0.1, 0.4, 0.9]


def test_before_and_after_are_the_first_and_the_last_accuracy(run: Run) -> None:
    stored = StoredRun(run)
    assert (stored.accuracy_before, stored.accuracy_after, stored.step) == (None, None, 0)
    lines = [{"eval/x/mean": 0.1, "eval/y/mean": 0.5}, {"kept": 0.2}, {"eval/x/mean": 0.3, "kept": 0.4}, {}]
    for step, line in enumerate(lines):
        run.log({"step": step, **line})
    stored = StoredRun(run)
    assert (stored.accuracy_before, stored.accuracy_after, stored.step) == (0.1, 0.3, 3)
    assert stored.values("kept") == [0.2, 0.4]
    assert (stored.last("kept"), stored.last("nothing")) == (0.4, None)


def test_what_was_typed_and_where_it_is_noted(run: Run) -> None:
    assert StoredRun(run).choices == {}
    run.note("starts", [{"choices": {"selector": "old"}, "overrides": ["++optim.lr=1e-4"]}])
    stored = StoredRun(run)  # once it was noted with each start
    assert (stored.choices, stored.typed) == ({"selector": "old"}, {"optim.lr": "1e-4"})
    run.note("choices", {"selector": "new"})
    assert StoredRun(run).choices == {"selector": "new"}


def test_keys_are_dotted_and_a_list_is_one_value(run: Run) -> None:
    config = StoredRun(run).config
    assert config["loop.steps"] == 4
    assert config["selector.pick.layers"] == "[1, 2]"


def test_states(run: Run, tmp_path: Path) -> None:
    run.note("choices", {"selector": "x"})
    run.note("overrides", [])

    def state() -> str:
        (stored,) = stored_runs(tmp_path)
        return stored.state

    assert state() == "stopped"
    with run.lock():
        assert state() == "running"
    for step in range(5):
        run.log({"step": step})
    run.finish({"steps": 4})
    assert state() == "finished"
    run.metrics_file.write_text("{}\n")
    assert state() == "damaged"


def test_a_run_that_sampled_nothing_says_how_to(run: Run) -> None:
    with pytest.raises(RunError, match=r"has no sampled step; train with loop\.sample_every=50"):
        StoredRun(run).sampled()
