"""`import tipx` in a notebook: what it offers, what it costs, and that its frames say what the files say."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import tipx
from tests.inspect.worlds import PLAIN, make_run
from tests.report.by_hand import copy_first
from tests.report.synthetic import Sweep
from tipx.errors import ConfigError, Damaged, ReportError, RunError
from tipx.runs.directory import Run
from tipx.runs.snapshot import Snapshot

SURFACE = {"LoadedRun", "ReportTable", "compare", "list_runs", "list_selectors", "load_run", "make_report"}
HEAVY = {"torch", "transformers", "numpy", "pandas", "hydra", "omegaconf", "matplotlib", "pydantic", "yaml"}
EXAMPLE = Path(__file__).parents[2] / "examples" / "entropy_divergence_scatter.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Steps 10 and 20 are sampled, by q3_only at 0.2; tokens 3 to 5 of each response are a tool's."""
    return make_run(tmp_path_factory.mktemp("run"), tools=True, shown=2)


@pytest.fixture(scope="module")
def loaded(run: Run) -> tipx.LoadedRun:
    return tipx.load_run(run.path)


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rules, two seeds each; the first run is measured before training too."""
    folder = tmp_path_factory.mktemp("sweep")
    grid = [["selector=full"], ["selector=random", "ratio=0.2"]]
    made = Sweep(folder / "controls", grid, seeds=2, steps=3, problems=20, base=["experiment=tiny"]).make()
    copy_first(made[0], mean=0.25)
    return folder


# --- the package -----------------------------------------------------------------------------------------------------


def test_importing_it_loads_nothing_heavy_and_shows_the_surface() -> None:
    code = "import json, sys, tipx; print(json.dumps([[*sys.modules], dir(tipx), [*map(str, tipx.__all__)]]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules, shown, listed = json.loads(done.stdout)
    assert not {name.split(".")[0] for name in modules} & HEAVY
    assert [name for name in modules if name.startswith("tipx")] == ["tipx"]
    assert set(listed) == SURFACE
    assert set(shown) >= SURFACE


def test_the_packages_with_a_short_name_can_be_called(runs_dir: Path) -> None:
    assert tipx.selectors() == tipx.list_selectors()
    assert tipx.runs(runs_dir).equals(tipx.list_runs(runs_dir))
    short, longer = (report("controls", runs_dir=runs_dir, partial=True) for report in (tipx.report, tipx.make_report))
    assert short.frame.equals(longer.frame)
    # Importing a part of a package first makes no difference.
    code = "import tipx.selectors.topk, tipx; print(len(tipx.selectors()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == len(tipx.list_selectors())


def test_every_name_is_there_and_documented() -> None:
    for name in tipx.__all__:
        assert getattr(tipx, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lode_run'"):
        _ = tipx.lode_run  # type: ignore[attr-defined]


# --- one run ---------------------------------------------------------------------------------------------------------


def test_a_run_tells_what_it_is(loaded: tipx.LoadedRun, run: Run) -> None:
    assert (loaded.path, loaded.name, loaded.seed, loaded.steps) == (run.path, "made-0badcafe", 3, 150)
    assert loaded.config["selector"]["pick"]["ratio"] == 0.2
    assert loaded.sampled_steps == [10, 20]
    assert loaded.metrics().to_dict("records") == [{"step": 0}]
    assert loaded.evals().empty


@pytest.mark.parametrize("name", ["made-0badcafe", "made", "0badcafe", "@last", "GROUP"])
def test_it_is_found_by_its_name_and_hash(name: str, run: Run) -> None:
    assert tipx.load_run(name.replace("GROUP", run.path.parent.name), run.path.parents[1]).path == run.path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("maed-0badcafe", "did you mean made-0badcafe? `tipx runs` lists the runs"),
        ("mde", "did you mean made-0badcafe?"),
        ("0badcaff", "did you mean made-0badcafe?"),
        ("nothing", "'nothing' is no run under"),
    ],
)
def test_a_wrong_name_gives_the_nearest(name: str, said: str, run: Run) -> None:
    with pytest.raises(RunError) as wrong:
        tipx.load_run(name, run.path.parents[1])
    assert said in str(wrong.value)
    assert ("did you mean" in str(wrong.value)) == ("did you mean" in said)


def test_tokens_are_those_of_the_step(loaded: tipx.LoadedRun, run: Run) -> None:
    frame, one = loaded.tokens(10), Snapshot.read(run.sample_files(10)[1])
    assert frame.groupby("rollout").size().tolist() == [12, 30, 7, 25]
    assert frame["position"].tolist() == [i for length in (12, 30, 7, 25) for i in range(length)]
    assert frame["text"].tolist() == [PLAIN[token] for token in frame["token"]]
    assert frame["valid"].tolist() == [not 2 <= position < 5 for position in frame["position"]]
    for name in ("student_entropy", "reverse_kl", "teacher_logprob"):
        assert np.array_equal(frame[name], one.stats[name])
    assert np.array_equal(frame["weight"], one.weights_N)
    # By hand: above the median of both is Q1, below both Q4.
    own = frame[frame["valid"]]
    unsure, wrong = (own[name] > own[name].median() for name in ("student_entropy", "reverse_kl"))
    assert own["quadrant"].tolist() == (1 + ~wrong + 2 * ~unsure).tolist()
    assert set(frame.loc[~frame["valid"], "quadrant"]) == {0}
    assert loaded.tokens().equals(loaded.tokens(20))


def test_samples_are_the_rollouts_that_were_saved(loaded: tipx.LoadedRun) -> None:
    frame = loaded.samples()
    assert frame[["step", "rollout"]].to_numpy().tolist() == [[10, 0], [10, 1], [20, 0], [20, 1]]
    assert frame["length"].tolist() == [12, 30, 12, 30]
    kept = loaded.tokens(10).groupby("rollout")["kept"].sum()
    assert loaded.samples(10)["kept"].tolist() == kept[[0, 1]].tolist()


def test_a_step_that_was_not_sampled_is_one_line(loaded: tipx.LoadedRun) -> None:
    for call in (loaded.tokens, loaded.samples, lambda step: loaded.apply_rule("selector=full", step)):
        with pytest.raises(RunError, match=r"step=11: .* sampled steps 10, 20; give one of them"):
            call(11)


def test_a_rule_gives_the_weights_that_trained_and_those_of_others(loaded: tipx.LoadedRun) -> None:
    tokens = loaded.tokens(10)
    own = loaded.apply_rule("ratio=0.2", 10)
    assert own.index.equals(tokens.index)
    assert own.tolist() == tokens["weight"].tolist()
    assert loaded.apply_rule("selector=full", 10).tolist() == tokens["valid"].astype(float).tolist()
    # The most entropic fifth of each rollout's own tokens: floor(0.2 x 9, 27, 4, 22), at least 1.
    top = loaded.apply_rule(["selector=entropy_top", "ratio=0.2"], 10)
    for (_, part), count in zip(tokens[tokens["valid"]].groupby("rollout"), (1, 5, 1, 4), strict=True):
        best = part["student_entropy"].sort_values(kind="stable").index[-count:]
        assert set(top[part.index][top > 0].index) == set(best)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("selector=q3_only,soft_or", "expected one rule, got q3_only, soft_or"),
        ("selector=q3_onyl", "q3_only"),
        ("optim.lr=1", "not part of a selection rule"),
    ],
)
def test_words_that_are_not_one_rule_are_one_line(rule: str, said: str, loaded: tipx.LoadedRun) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded.apply_rule(rule, 10)


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    broken = make_run(tmp_path)
    broken.sample_files(20)[1].write_bytes(b"no arrays")
    loaded = tipx.load_run(broken.path)
    with pytest.raises(Damaged, match=r"000020\.npz is damaged"):
        loaded.tokens()
    assert len(loaded.tokens(10)) == 74


# --- many runs -------------------------------------------------------------------------------------------------------


def test_runs_are_rows_with_choices_keys_and_results(runs_dir: Path) -> None:
    frame = tipx.list_runs(runs_dir)
    assert frame[["selector", "seed", "state", "step", "steps"]].to_numpy().tolist() == [
        [selector, seed, "finished", 3, 3] for selector in ("full", "random") for seed in (0, 1)
    ]
    assert frame["ratio"].isna().tolist() == [True, True, False, False]
    assert set(frame["optim.lr"]) == {1e-3}
    for _, row in frame.iterrows():
        (file,) = Path(row["path"]).glob("evals/000003/*/result.json")
        facts = json.loads(file.read_text())
        assert (row["arithmetic.mean"], row["arithmetic.pass@4"]) == (facts["mean"], facts["pass_at"]["4"])
    assert len(tipx.list_runs(runs_dir, where="selector=random seed=1")) == 1
    with pytest.raises(ReportError, match=r"near: optim\.lr"):
        tipx.list_runs(runs_dir, where=["optim.lrr=1"])


def test_no_runs_are_no_rows(tmp_path: Path) -> None:
    assert tipx.list_runs(tmp_path / "nowhere").empty


def test_a_damaged_run_is_listed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.config_file.write_text("[")
    (row,) = tipx.list_runs(tmp_path / "runs").to_dict("records")
    assert (row["run"], row["state"], row["seed"]) == ("made-0badcafe", "damaged", None)


def test_evaluations_in_order_of_steps(runs_dir: Path) -> None:
    first = tipx.load_run(tipx.list_runs(runs_dir)["path"][0])
    frame = first.evals()
    assert frame["step"].tolist() == [0, 3]
    assert frame["mean"].tolist()[0] == 0.25
    assert frame["benchmark"].tolist() == ["arithmetic", "arithmetic"]
    assert frame["n"].tolist() == [4, 4]
    assert [json.loads(Path(file).read_text())["mean_se"] for file in frame["file"]] == frame["mean_se"].tolist()
    assert first.metrics()["step"].tolist() == [0, 1, 2, 3]


def test_a_report_has_the_means_of_its_runs(runs_dir: Path) -> None:
    report = tipx.make_report("controls", runs_dir=runs_dir, partial=True)
    again = tipx.make_report("controls", "controls", runs_dir=runs_dir, partial=True, where="selector=random")
    mean = report.frame.query("selector == 'random' and metric == 'mean'")
    runs = tipx.list_runs(runs_dir, "selector=random")
    assert mean["mean"].tolist() == pytest.approx([runs["arithmetic.mean"].mean()])
    assert mean["n"].tolist() == [2]
    assert set(again.frame["selector"].dropna()) == {"random"}
    assert set(report.runs["run"]) == set(tipx.list_runs(runs_dir)["run"])
    assert report.markdown().startswith("# ")
    with pytest.raises(ReportError, match="did you mean controls"):
        tipx.make_report("contorls", runs_dir=runs_dir)


def answers(folder: Path, right: int) -> Path:
    """A result on eight problems of which the first `right` were answered right, as an older tipx wrote it."""
    folder.mkdir(parents=True)
    modes = ("sample", "greedy")
    lines = [{"id": str(i), "mode": mode, "value": float(i < right)} for mode in modes for i in range(8)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts: dict[str, Any] = {"benchmark": "math500", "problems": 8, "n": 1, "mean": right / 8, "greedy": right / 8}
    (folder / "result.json").write_text(json.dumps(facts))
    return folder


def test_a_comparison_is_a_frame(tmp_path: Path) -> None:
    a, b = answers(tmp_path / "a", 2), answers(tmp_path / "b", 4)
    row, greedy = tipx.compare(a, str(b)).to_dict("records")
    assert (row["measure"], row["a"], row["b"], row["difference"]) == ("mean@1", 0.25, 0.5, 0.25)
    # Two problems differ, both for the better: of the four signs two are as far from 0.
    assert row["p"] == 0.5
    assert "includes 0" in row["noise"]
    assert (greedy["measure"], greedy["difference"], greedy["p"], greedy["noise"]) == ("greedy", 0.25, 0.5, "")
    with pytest.raises(RunError, match="no result of benchmark=aime24"):
        tipx.compare(a, b, "aime24")


def test_selectors_have_a_line_each() -> None:
    found = tipx.list_selectors()
    assert {"soft_or", "q3_only", "random"} <= found.keys()
    assert all(len(line) > 3 for line in found.values())


# --- the example -----------------------------------------------------------------------------------------------------


def test_the_example_draws_a_picture(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [EXAMPLE.name, str(run.path), "10"])
    with mpl.rc_context({"backend": "Agg"}):
        after = runpy.run_path(str(EXAMPLE))
    (picture,) = tmp_path.iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
    kept: dict[str, pd.Series] = after["kept"]
    assert list(kept) == ["soft_or", "q3_only", "entropy_top", "random"]
    figure = after["figure"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{rule}: {chosen.sum()} of 62 tokens kept" for rule, chosen in kept.items()
    ]
    for axes, chosen in zip(figure.axes, kept.values(), strict=True):
        assert [len(dots.get_offsets()) for dots in axes.collections] == [62 - chosen.sum(), chosen.sum()]
    assert "nats" in figure.axes[2].get_xlabel()
    assert "nats" in figure.axes[0].get_ylabel()
    after["plt"].close(figure)
