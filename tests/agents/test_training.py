"""Training on trajectories: the loss is on what the student sampled, and on nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.agents.toy import CountTo
from tests.rows import lasting, undeclared
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts, collected
from tipx.config import build, load, options
from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import from_lists
from tipx.rollout.hf import eos_ids
from tipx.runs.directory import Run
from tipx.train.experiment import Experiment
from tipx.train.start import train_run
from tipx.train.step_metrics import Update
from tipx.train.trainer import Trainer
from tipx.types import STATISTICS, Rollout, TokenStats, response_ends

Args = Callable[..., list[str]]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the toy tasks."""
    folder = tmp_path_factory.mktemp("own")
    for group, lines in {
        "data": "_target_: tests.agents.toy.CountPrompts\nsize: 6\nasks: 1\n",
        "benchmark": "_target_: tests.agents.toy.CountBenchmark\nname: count\nsize: 4\nasks: 1\n",
    }.items():
        (folder / group).mkdir()
        (folder / group / "count.yaml").write_text(f"# Counting\n{lines}")
    return folder


@pytest.fixture
def args(pair_dir: Path, tmp_path: Path) -> Args:
    def make(*more: str) -> list[str]:
        return [
            f"model.teacher.path={pair_dir / 'teacher'}",
            f"model.student.path={pair_dir / 'student'}",
            f"runs_dir={tmp_path / 'runs'}",
            *("hardware.device=cpu", "hardware.micro_batch=3", "data=count", "guard.enabled=false"),
            *("rollout=agent", "rollout.backend.max_new_tokens=24", "rollout.max_new_tokens=60"),
            *("loop.max_prompt_tokens=400", "loop.steps=2", "loop.prompts=3", "loop.rollouts=2", "loop.eval_every=0"),
            *("loop.save_every=1", "loop.sample_every=1", "optim.warmup_steps=0", "optim.lr=1e-2"),
            *more,
        ]

    return make


def train(args: list[str], own: Path) -> Run:
    return train_run(args, fresh=False, config_dir=own)[0]


# --- a run -----------------------------------------------------------------------------------------------------------


def test_two_steps(args: Args, own: Path) -> None:
    run = train(args("selector=soft_or", "ratio=0.5"), own)
    rows = run.rows()
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["train/applied"]
        assert sum(row[f"agent/ended_{reason}_frac"] for reason in ("eos", "length", "tokens", "context", "turns")) == 1
        assert row["agent/turns"] > 1
        assert row["agent/empty_trajectories"] == 0
        assert undeclared(row) == {}
        assert 0 <= row["agent/score"] <= 1
        # Half of each trajectory's sampled tokens, rounded down, of six.
        assert row["select/kept_tokens"] == pytest.approx(row["rollout/tokens"] / 2, abs=3)
    for sample in (json.loads(line) for line in (run.path / "rollouts" / "000001.jsonl").read_text().splitlines()):
        mask = sample["valid"]
        assert len(mask) == len(sample["weights"]) == len(sample["pieces"]) == len(sample["tokens"])
        assert sum(sample["weights"]) == max(1, sum(mask) // 2)
        assert not any(w for w, m in zip(sample["weights"], mask, strict=True) if not m)
    assert '"valid": [true, ' in (text := (run.path / "rollouts" / "000001.jsonl").read_text())
    assert ", false, " in text, "no tool spoke"


def test_a_run_does_not_depend_on_micro_batches_nor_on_where_scores_come_from(
    args: Args, own: Path, tmp_path: Path
) -> None:
    runs = [
        train(args(*more, f"runs_dir={tmp_path / str(i)}"), own)
        for i, more in enumerate(
            ([], ["hardware.micro_batch=1"], ["rollout.backend.batch_size=2"], ["loop.score_from=rollout"])
        )
    ]
    for run in runs[1:]:
        for ours, theirs in zip(runs[0].rows(), run.rows(), strict=True):
            for key, value in lasting(ours).items():
                # Rounding decides on which side of a quantile its own token falls.
                assert theirs[key] == pytest.approx(value, rel=1e-4, abs=0.05 if "/q" in key else 1e-4), key


def test_resumed_it_is_the_same(args: Args, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(args(), own)
    save = Run.save_checkpoint

    def killed(self: Run, step: int, *rest: Any) -> None:
        save(self, step, *rest)
        if step == 1:
            raise KeyboardInterrupt

    elsewhere = args(f"runs_dir={tmp_path / 'killed'}")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(elsewhere, own)
    assert [lasting(r) for r in train(elsewhere, own).rows()] == [lasting(r) for r in whole.rows()]


def test_trajectories_without_room_are_counted_and_left_out(args: Args, own: Path) -> None:
    # Prompts of 209 and 210 tokens ("To 10!"): the last one's has no room for a word.
    run = train(args("data.size=10", "loop.prompts=10", "loop.steps=1", "rollout.context=210"), own)
    (row,) = run.rows()
    assert row["agent/empty_trajectories"] == 2
    assert row["agent/ended_context_frac"] == 1
    assert row["rollout/tokens"] == 18
    assert row["train/applied"]


def test_a_step_without_any_sampled_token_changes_nothing(args: Args, own: Path) -> None:
    (row,) = train(args("loop.steps=1", "rollout.context=100"), own).rows()
    assert row["agent/empty_trajectories"] == 6
    assert not row["train/applied"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["rollout=hf"], r"rollout: 'count/1' is a task with tools"),
        (["data=arithmetic"], r"rollout: an agent does tasks, and .* is a question"),
    ],
)
def test_what_does_not_fit_is_refused(more: list[str], message: str, args: Args, own: Path) -> None:
    keep = [a for a in args() if not a.startswith(("rollout.", "rollout=") if "rollout=hf" in more else "data")]
    with pytest.raises(ConfigError, match=message):
        train([*keep, *more], own)


# --- against autograd ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(own: Path, pair_dir: Path) -> tuple[Experiment, Trainer, Rollout]:
    """Trajectories of several turns, and a trainer."""
    paths = [f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")]
    exp = build(load([*paths, "hardware.device=cpu", "hardware.micro_batch=2", "rollout=agent"], "train", own))
    world = exp.hardware.start("no")
    tokenizer = exp.model.load_tokenizer()
    pair = exp.model.load(world.device, tokenizer)
    chat = Chat(tokenizer, eos_ids(pair.student, tokenizer))
    agent: AgentRollouts = replace(
        exp.rollout, max_new_tokens=60, backend=replace(exp.rollout.backend, max_new_tokens=24)
    )
    tasks = [CountTo(goal, asks=2) for goal in range(1, 7)]
    prompts = [chat.start(task.messages, task.tools) for task in tasks]
    request = RolloutRequest(prompts=prompts, rows=range(6), noise=Noise(1))
    episodes = agent.play(pair.student, chat, tasks, request)
    rollout = collected(episodes, world.device)
    assert response_ends(rollout.valid_BT) != rollout.lengths
    return exp, Trainer(exp, pair, world), rollout


def by_hand(trainer: Trainer, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """log P of student and teacher at every sampled token's place, from logits of whole texts, one at a time."""
    ours, theirs = [], []
    for b, prompt in enumerate(rollout.prompt_ids):
        ids = torch.tensor([[*prompt, *rollout.response_BT[b, : response_ends(rollout.valid_BT)[b]].tolist()]])
        places = [len(prompt) + t - 1 for t in rollout.valid_BT[b].nonzero()[:, 0].tolist()]
        for model, out in ((trainer.pair.student, ours), (trainer.pair.teacher, theirs)):
            out.append(model(input_ids=ids).logits[0, places].log_softmax(-1))
    return torch.cat(ours), torch.cat(theirs)


def test_statistics_are_those_of_full_logits(made: tuple[Experiment, Trainer, Rollout]) -> None:
    _, trainer, rollout = made
    _, stats = trainer.score(rollout, STATISTICS)
    with torch.no_grad():
        s_NV, t_NV = by_hand(trainer, rollout)
    tokens_N1 = rollout.response_BT[rollout.valid_BT][:, None]
    expected = {
        "student_entropy": -(s_NV.exp() * s_NV).sum(-1),
        "teacher_entropy": -(t_NV.exp() * t_NV).sum(-1),
        "reverse_kl": (s_NV.exp() * (s_NV - t_NV)).sum(-1),
        "forward_kl": (t_NV.exp() * (t_NV - s_NV)).sum(-1),
        "student_logprob": s_NV.gather(-1, tokens_N1)[:, 0],
        "teacher_logprob": t_NV.gather(-1, tokens_N1)[:, 0],
    }
    for name, values_N in expected.items():
        torch.testing.assert_close(stats[name][rollout.valid_BT], values_N, rtol=1e-3, atol=1e-5)
        assert not stats[name][~rollout.valid_BT].any()


@pytest.mark.parametrize("denominator", ["kept", "valid"])
@pytest.mark.parametrize("selector", ["full", "soft_or", "q3_only", "prefix", "random"])
def test_the_gradient_is_that_of_plain_autograd(
    selector: str, denominator: str, made: tuple[Experiment, Trainer, Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trainer, rollout = made
    rule = build(load([f"selector={selector}", "ratio=0.3"])).selector
    scored, stats = trainer.score(rollout, STATISTICS)
    weights_BT = rule(stats, rollout.valid_BT, Noise(0, 1))
    count = float(weights_BT.sum() if denominator == "kept" else rollout.valid_BT.sum())
    found: dict[str, Tensor] = {}
    student = trainer.pair.student

    def keep(_self: Trainer, loss: float) -> Update:
        found.update({name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None})
        student.zero_grad()
        return Update(loss, 0.0, 0.0, True, 0, 1.0)

    monkeypatch.setattr(Trainer, "_apply_gradients", keep)
    loss = trainer.update(rollout, scored, weights_BT, count).loss
    s_NV, t_NV = by_hand(trainer, rollout)
    kl_N = functional.kl_div(t_NV.detach(), s_NV, reduction="none", log_target=True).sum(-1)
    expected = (kl_N * weights_BT[rollout.valid_BT]).sum() / count
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    assert found
    for name, p in student.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-3, atol=1e-6)
    student.zero_grad()


# --- selection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", options("selector"))
def test_a_selector_sees_a_trajectory_as_if_nothing_stood_between(
    name: str, made: tuple[Experiment, Trainer, Rollout]
) -> None:
    _, trainer, rollout = made
    _, stats = trainer.score(rollout, STATISTICS)
    # The same values without the places in between, and garbage in those places.
    pure = from_lists(
        rollout.prompt_ids,
        [row[own].tolist() for row, own in zip(rollout.response_BT, rollout.valid_BT, strict=True)],
        rollout.stop_reasons,
        torch.device("cpu"),
    )
    squeezed, spoilt = {}, {}
    for key, values_BT in stats.computed().items():
        squeezed[key] = torch.zeros(pure.valid_BT.shape)
        squeezed[key][pure.valid_BT] = values_BT[rollout.valid_BT]
        spoilt[key] = values_BT.where(rollout.valid_BT, torch.tensor(1e6))
    selector = build(load([f"selector={name}", "ratio=0.3"])).selector
    expected = selector(TokenStats(**squeezed), pure.valid_BT, Noise(2))
    weights_BT = selector(TokenStats(**spoilt), rollout.valid_BT, Noise(2))
    assert torch.equal(weights_BT[rollout.valid_BT], expected[pure.valid_BT])
    assert not weights_BT[~rollout.valid_BT].any()


def test_a_prefix_is_of_sampled_tokens(made: tuple[Experiment, Trainer, Rollout]) -> None:
    _, _, rollout = made
    weights_BT = build(load(["selector=prefix", "ratio=0.5"])).selector(TokenStats(), rollout.valid_BT, Noise(0))
    for b, n in enumerate(rollout.lengths):
        places = rollout.valid_BT[b].nonzero()[:, 0]
        assert weights_BT[b].nonzero()[:, 0].tolist() == places[: max(1, n // 2)].tolist()


def test_what_tools_say_is_in_no_loss(made: tuple[Experiment, Trainer, Rollout]) -> None:
    # After the last sampled token nothing counts: words there change no statistic.
    _, trainer, rollout = made
    more = torch.full((len(rollout), 5), 7)
    longer = replace(
        rollout,
        response_BT=torch.cat([rollout.response_BT, more], 1),
        valid_BT=torch.cat([rollout.valid_BT, torch.zeros_like(more).bool()], 1),
    )
    ours, theirs = (trainer.score(one, frozenset({"reverse_kl"}))[1]["reverse_kl"] for one in (rollout, longer))
    torch.testing.assert_close(theirs[:, : ours.shape[1]], ours)
    assert not theirs[:, ours.shape[1] :].any()
