"""The loop: what every step reports, what is left alone when a step is not finite, and that the student learns."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rows import lasting, undeclared
from tipx.errors import ConfigError, DataError, RunFailed
from tipx.runs.directory import Run
from tipx.runs.metrics_file import Row
from tipx.train import preflight
from tipx.train.batching import MicroBatch
from tipx.train.session import Session
from tipx.train.start import train_run
from tipx.train.trainer import STATE, Trainer
from tipx.types import Rollout, TokenStats

pytestmark = pytest.mark.long(20)

Overrides = Callable[..., list[str]]
PHASES = ("rollout", "score", "select", "train")
EVERY_STEP = {
    *("step", "train/loss", "train/grad_norm", "train/lr", "train/applied", "train/bad_steps"),
    *("rollout/tokens", "quadrant/q1_frac", "quadrant/q2_frac", "quadrant/q3_frac", "quadrant/q4_frac"),
    *("select/kept_tokens", "select/kept_frac", "select/kept_loss_frac"),
    *(f"select/{what}_{part}" for what in ("entropy", "reverse_kl") for part in ("kept", "dropped", "all")),
    *(f"quadrant/q{q}_frac_of_kept" for q in (1, 2, 3, 4)),
    *("rollout/mean_length", "rollout/max_length", "rollout/truncated_frac", "perf/tokens_per_s"),
    *(f"time/{phase}_s" for phase in PHASES),
    *(f"memory/{phase}_mib" for phase in PHASES),
}


def train(args: list[str]) -> Run:
    return train_run(args, fresh=False, config_dir=None)[0]


def column(run: Run, key: str) -> list[Any]:
    return [row[key] for row in run.rows()]


def spoil(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """At these steps the loss is infinite, as an overflow would make it; whatever was done before is no matter."""
    update = Trainer.update

    def wrapped(self: Trainer, rollout: Rollout, scored: Any, weights_BT: torch.Tensor, count: float) -> Any:
        step = self.schedule.last_epoch + 1
        return update(self, rollout, scored, weights_BT * (float("inf") if step in steps else 1), count)

    monkeypatch.setattr(Trainer, "update", wrapped)


# --- what a step reports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", ["soft_or", "random", "q3_only"])
def test_every_step_reports_what_was_kept_and_what_it_cost(selector: str, overrides: Overrides) -> None:
    run = train(overrides(f"selector={selector}", "ratio=0.5", "loop.monitor_every=1"))
    assert column(run, "step") == [1, 2, 3, 4]
    for row in run.rows():
        assert row.keys() >= EVERY_STEP
        assert undeclared(row) == {}
        assert sum(row[f"quadrant/q{q}_frac"] for q in (1, 2, 3, 4)) == pytest.approx(1)
        assert sum(row[f"quadrant/q{q}_frac_of_kept"] for q in (1, 2, 3, 4)) == pytest.approx(1)
        # floor(m / 2), but at least 1, of each of 8 responses: at most half a token off, each.
        assert row["select/kept_tokens"] == pytest.approx(row["rollout/tokens"] / 2, abs=4)
        assert row["select/kept_frac"] == row["select/kept_tokens"] / row["rollout/tokens"]
        parts = [(row["select/kept_frac"], "kept"), (1 - row["select/kept_frac"], "dropped")]
        for what in ("entropy", "reverse_kl"):
            mean = sum(share * row[f"select/{what}_{part}"] for share, part in parts)
            assert mean == pytest.approx(row[f"select/{what}_all"], rel=1e-5)
        # The loss is the divergence: its mean over kept tokens, and their share of its sum.
        assert row["train/loss"] == pytest.approx(row["select/reverse_kl_kept"], rel=1e-4)
        mass = row["select/kept_frac"] * row["select/reverse_kl_kept"] / row["select/reverse_kl_all"]
        assert row["select/kept_loss_frac"] == pytest.approx(mass, rel=1e-4)
        seconds = sum(row[f"time/{phase}_s"] for phase in PHASES)
        assert row["perf/tokens_per_s"] == pytest.approx(row["rollout/tokens"] / seconds)


@pytest.mark.parametrize("selector", ["soft_or", "entropy_top", "random"])
def test_scores_from_the_rollout_are_those_of_a_forward_pass(selector: str, overrides: Overrides) -> None:
    rule = [f"selector={selector}", "ratio=0.5", "rollout.batch_size=3"]
    one, two = train(overrides(*rule)), train(overrides(*rule, "loop.score_from=rollout"))
    assert len(one.rows()) == len(two.rows()) == 4
    for ours, theirs in zip(one.rows(), two.rows(), strict=True):
        for key, value in lasting(ours).items():
            # Rounding decides on which side of a quantile its own token falls.
            atol = 0.05 if "/q" in key else 1e-4
            assert theirs[key] == pytest.approx(value, rel=1e-4, abs=atol), key


def test_the_student_runs_once_less_when_scores_come_from_the_rollout(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    inner = MicroBatch.hidden_states

    def counted(self: MicroBatch, body: torch.nn.Module) -> torch.Tensor:
        seen[place] = seen.get(place, 0) + 1
        return inner(self, body)

    monkeypatch.setattr(MicroBatch, "hidden_states", counted)
    for place in ("forward", "rollout"):
        # Eight sequences of the longest kind at once: one micro-batch for the teacher, the score, and the update.
        size = ["hardware.micro_batch=8", "loop.steps=1", "selector=soft_or", "loop.sample_every=0"]
        train(overrides(*size, f"loop.score_from={place}", "loop.eval_every=0"))
    assert seen == {"forward": 3, "rollout": 2}


def test_a_backend_without_states_is_refused(overrides: Overrides, tmp_path: Path) -> None:
    (tmp_path / "own" / "rollout").mkdir(parents=True)
    lines = "_target_: tipx.rollout.scripted.ScriptedRollouts\nresponses: ['4 .']\nmax_new_tokens: 5\n"
    (tmp_path / "own" / "rollout" / "script.yaml").write_text(lines)
    with pytest.raises(ConfigError, match=r"ScriptedRollouts leaves no hidden states.* set loop.score_from=forward"):
        train_run(overrides("rollout=script", "loop.score_from=rollout"), fresh=False, config_dir=tmp_path / "own")


def test_what_no_one_needs_is_not_computed(overrides: Overrides) -> None:
    run = train(overrides("selector=random", "loop.monitor_every=3"))
    monitored = [row["step"] for row in run.rows() if "quadrant/q1_frac" in row]
    assert monitored == [3, 4]  # each third, and the last
    assert [row["step"] for row in run.rows() if "time/monitor_s" in row] == [3, 4]
    for row in run.rows():  # what the loss knows
        assert row["select/reverse_kl_kept"] == pytest.approx(row["train/loss"], rel=1e-4)
    assert all(0 < row["select/kept_frac"] < 1 for row in run.rows())


@pytest.mark.parametrize("selector", ["random", "entropy_top", "full"])
def test_monitoring_changes_no_bit_of_training(
    selector: str, overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[str]] = []
    score = Trainer.score

    def noted(self: Trainer, rollout: Rollout, needs: frozenset[str]) -> Any:
        asked.append(needs)
        return score(self, rollout, needs)

    monkeypatch.setattr(Trainer, "score", noted)
    rule = [f"selector={selector}", "ratio=0.5", "loop.steps=2"]
    runs = [train(overrides(*rule, f"loop.monitor_every={n}", f"name=every-{n}")) for n in (1, 0)]
    # The log's statistics are scored apart: sums that they left for the loss would be others in the last bit.
    assert asked[:2] == asked[2:]
    often, never = (run.rows() for run in runs)
    names = {"train/loss", "train/grad_norm", "rollout/tokens", "select/reverse_kl_kept"}
    assert [{key: row[key] for key in names} for row in often] == [{key: row[key] for key in names} for row in never]
    # Where every token is trained on, the loss knows all that is logged.
    assert ("quadrant/q3_frac" in never[0]) == (selector == "full")


def test_accuracy_before_in_between_and_after(overrides: Overrides) -> None:
    few = ["eval.limit=3", "eval.n=2", "eval.sampling.max_new_tokens=12"]
    run = train(overrides("loop.eval_every=2", *few))
    rows = run.rows()
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    names = {"eval/arithmetic/mean", "eval/arithmetic/mean_se", "eval/arithmetic/greedy"}
    assert [row["step"] for row in rows if names <= row.keys()] == [0, 2, 4]
    assert rows[0].keys() == {"step", *names, "time/eval_s", "memory/eval_mib"}
    assert undeclared(rows[0]) == {}
    for step in (0, 2, 4):
        (file,) = run.eval_dir(step).glob("arithmetic-*/result.json")
        assert json.loads(file.read_text())["mean"] == rows[step]["eval/arithmetic/mean"]
    assert run.summary()["before"].keys() == run.summary()["after"].keys() == names
    assert run.summary()["last"] == rows[-1]


def test_samples_are_saved_as_often_as_asked(overrides: Overrides) -> None:
    run = train(overrides("loop.sample_every=2", "loop.sample_count=3"))
    files = sorted((run.path / "rollouts").iterdir())
    assert [file.name for file in files] == ["000002.jsonl", "000002.npz", "000004.jsonl", "000004.npz"]
    first: list[Row] = [json.loads(line) for line in files[0].read_text().splitlines()]
    assert len(first) == 3
    for sample in first:
        n = len(sample["tokens"])
        assert len(sample["weights"]) == len(sample["pieces"]) == n
        assert {len(values) for values in sample["stats"].values()} == {n}
        assert sum(sample["weights"]) == max(1, n // 2)


# --- what it does ----------------------------------------------------------------------------------------------------


def test_the_student_comes_closer_to_the_teacher(overrides: Overrides) -> None:
    run = train(overrides("selector=full", "loop.steps=40", "optim.lr=1e-2"))
    divergence = column(run, "select/reverse_kl_all")
    assert divergence[-1] < divergence[0] / 4


def test_a_run_does_not_depend_on_the_micro_batch(overrides: Overrides, tmp_path: Path) -> None:
    a, b = (train(overrides(f"hardware.micro_batch={m}", f"runs_dir={tmp_path / str(m)}")) for m in (1, 8))
    assert a.path.name == b.path.name  # hardware is no part of what a run is
    for one, other in zip(a.rows(), b.rows(), strict=True):
        assert lasting(one) == pytest.approx(lasting(other), rel=1e-4, abs=1e-6)


def test_a_run_is_its_seed(overrides: Overrides, tmp_path: Path) -> None:
    def losses(seed: int, place: str) -> list[float]:
        return column(train(overrides(f"seed={seed}", f"runs_dir={tmp_path / place}")), "train/loss")

    assert losses(0, "a") == losses(0, "b") != losses(1, "c")


def test_prompts_that_are_too_long_are_left_out_never_cut(
    overrides: Overrides, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting, used = preflight.fitting_prompts, []

    def spy(*args: Any) -> list[preflight.EncodedPrompt]:
        used.append(fitting(*args))
        return used[-1]

    monkeypatch.setattr(preflight, "fitting_prompts", spy)
    train(overrides("loop.max_prompt_tokens=25"))
    (asked,) = used
    assert 0 < len(asked) < 32
    assert max(len(one.ids) for one in asked) <= 25
    said = f"left out {32 - len(asked)} of 32 prompts, empty or longer than loop.max_prompt_tokens=25"
    assert said in " ".join(capsys.readouterr().err.split())


def test_without_a_prompt_that_fits_there_is_no_run(overrides: Overrides, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 32 prompts is within loop\.max_prompt_tokens=3; raise it, or choose"):
        train(overrides("loop.max_prompt_tokens=3"))
    assert not list((tmp_path / "runs").glob("*/*"))


# --- steps that are not finite ---------------------------------------------------------------------------------------


def test_a_step_that_is_not_finite_is_skipped_and_counted(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 2)
    run = train(overrides("loop.save_every=1", "loop.keep_checkpoints=4", "optim.warmup_steps=0"))
    assert column(run, "train/applied") == [True, False, True, True]
    assert column(run, "train/bad_steps") == [0, 1, 1, 1]
    assert run.finished
    assert run.summary()["bad_steps"] == 1
    one, two, three, four = ((run.path / "checkpoints" / f"{step:06d}") for step in (1, 2, 3, 4))
    before, after = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert (three / "model.safetensors").read_bytes() != (two / "model.safetensors").read_bytes()
    # Nor does the optimizer remember it.
    moments = [torch.load(folder / STATE)["optimizer"]["state"] for folder in (one, two)]
    assert all(
        torch.equal(value, moments[1][p][name]) for p, held in moments[0].items() for name, value in held.items()
    )
    assert all(value.isfinite().all() for value in load_file(four / "model.safetensors").values())


def test_a_gradient_that_is_not_finite_counts_though_the_loss_is(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trainer.update

    def wrapped(self: Trainer, *args: Any) -> Any:
        weight = next(self.pair.student.parameters())
        hook = weight.register_hook(lambda g: g * float("nan") if self.schedule.last_epoch == 2 else g)
        done = update(self, *args)
        hook.remove()
        return done

    monkeypatch.setattr(Trainer, "update", wrapped)
    run = train(overrides())
    assert column(run, "train/applied") == [True, True, False, True]
    assert all(0 < loss < 1 for loss in column(run, "train/loss"))


def test_too_many_of_them_end_the_run_each_time_it_is_asked_for(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 2, 4)
    args = overrides("loop.max_bad_steps=1")
    for _ in range(2):  # step 4 is the last: it must not be taken for finished when asked again
        with pytest.raises(RunFailed) as caught:
            train(args)
        assert caught.value.exit_code == 1
        assert str(caught.value) == (
            "stopped at step 4: loss or gradient was not finite in 2 steps (loop.max_bad_steps=1); try a smaller "
            "optim.lr, or loop.precision=no"
        )
    assert not list((Path(args[2].split("=")[1])).glob("*/*/summary.json"))


def test_the_count_survives_a_kill(overrides: Overrides, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoil(monkeypatch, 1, 3)
    whole = train(overrides(f"runs_dir={tmp_path / 'whole'}"))
    record = Session.record

    def killed(self: Session, step: int, row: Row) -> None:
        record(self, step, row)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            train(overrides())
    run = train(overrides())
    assert column(run, "train/bad_steps") == [1, 1, 2, 2]
    assert str([lasting(row) for row in run.rows()]) == str([lasting(row) for row in whole.rows()])  # nan is not nan


@pytest.mark.parametrize("selector", ["soft_or", "entropy_sampling", "q3_only", "q3", "full"])
def test_statistics_that_are_no_numbers_do_not_crash_a_step(
    selector: str, overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Trainer.score

    def wrapped(self: Trainer, rollout: Rollout, needs: frozenset[str]) -> Any:
        scored, stats = score(self, rollout, needs)
        nan = float("nan") if self.schedule.last_epoch == 1 else 1.0
        return scored, TokenStats(**{name: value * nan for name, value in stats.computed().items()})

    monkeypatch.setattr(Trainer, "score", wrapped)
    run = train(overrides(f"selector={selector}", "ratio=0.5", "loop.monitor_every=1"))
    assert column(run, "step") == [1, 2, 3, 4]
    assert column(run, "train/applied")[2:] == [True, True]
