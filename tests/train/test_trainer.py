"""One step of training against the plain thing: full logits, `log_softmax`, a mean over kept tokens, autograd.

The small world: six prompts of different lengths, answered by a script of 2 to 12 tokens each (the end of sequence
included), by a random pair whose weights are blown up so that the two disagree. In float64, for tight tolerances.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from tests.conftest import save_model
from tipx.config import build, load
from tipx.display.progress import Quiet
from tipx.embedded.arithmetic.tokenizer import vocabulary
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.scripted import ScriptedRollouts
from tipx.runs.directory import Run
from tipx.runs.metrics_file import Row
from tipx.train.experiment import Experiment
from tipx.train.loggers import Silence
from tipx.train.loop import one_step
from tipx.train.meter import Meter
from tipx.train.preflight import fitting_prompts
from tipx.train.session import Session
from tipx.train.step_metrics import MONITORED, Update
from tipx.train.trainer import ScoredTokens, Trainer
from tipx.types import Rollout

Overrides = Callable[..., list[str]]
LINES = (
    "start 14 . then 14 + 8 = 22 .",
    "4",
    "now take 12 from 37",
    "so",
    "then 31 + 6 = 37 . \\boxed{ 37 }",
    "next 9 +",
)
B = len(LINES)
VOCABULARY = len(vocabulary())
SELECTORS = ("full", "soft_or", "q3_only", "random")
KLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of log-probabilities (student, teacher), nats
    "reverse_kl": lambda s, t: (s.exp() * (s - t)).sum(-1),
    "forward_kl": lambda s, t: (t.exp() * (t - s)).sum(-1),
    "jsd": lambda s, t: 0.5 * (KLS["reverse_kl"](s, mean(s, t)) + KLS["reverse_kl"](t, mean(s, t))),
}


def mean(s: Tensor, t: Tensor) -> Tensor:
    return ((s.exp() + t.exp()) / 2).log()


@pytest.fixture(autouse=True)
def _precision_may_differ_between_tests() -> Iterator[None]:
    """Accelerate keeps its precision for the life of the process, which is one run's elsewhere."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@dataclass
class Step:
    """What one step did."""

    row: Row
    rollout: Rollout
    weights_BT: Tensor
    student: dict[str, Tensor]


def experiment(overrides: Overrides, *more: str) -> Experiment:
    exp: Experiment = build(load(overrides(f"loop.prompts={B}", "ratio=0.4", "loop.sample_every=0", *more)))
    return replace(exp, rollout=ScriptedRollouts(responses=LINES, max_new_tokens=12))


def live(exp: Experiment, folder: Path, dtype: torch.dtype = torch.float64) -> Session:
    """A session ready for a step, its models in `dtype` and with matrices eight times as large."""
    one = Session(exp, Run(folder), exp.hardware.start(exp.loop.precision), Quiet(), Silence())
    one.meter, one.pair = Meter(one.world.device), exp.model.load(one.world.device, exp.model.load_tokenizer())
    with torch.no_grad():
        for model in (one.pair.student, one.pair.teacher):
            for value in model.to(dtype).parameters():
                value.mul_(8.0 if value.dim() > 1 else 1.0)
    one.prompts = [ids for _, ids in fitting_prompts(exp, one.pair.tokenizer, exp.data.load())]
    one.trainer = Trainer(exp, one.pair, one.world)
    return one


def do_step(exp: Experiment, folder: Path, dtype: torch.dtype = torch.float64) -> Step:
    """The loop's first step."""
    one = live(exp, folder, dtype)
    update, seen = one.trainer.update, []

    def spy(rollout: Rollout, scored: ScoredTokens, weights_BT: Tensor, count: float) -> Update:
        seen.append((rollout, weights_BT))
        return update(rollout, scored, weights_BT, count)

    one.trainer.update = spy  # type: ignore[method-assign]
    row = one_step(one, 1)
    return Step(row, *seen[0], {name: p.detach() for name, p in one.pair.student.named_parameters()})


def script(one: Session) -> Rollout:
    request = RolloutRequest(prompts=one.prompts[:B], rows=range(B), noise=Noise(0))
    return one.exp.rollout(one.pair.student, one.pair.tokenizer, request)


def divergences(one: Session, name: str, made: Rollout, student: PreTrainedModel | None = None) -> Tensor:
    """(B, T) of every response token from full logits, each sequence by itself and without padding."""
    rows = []
    for b, n in enumerate(made.lengths):
        p = len(made.prompt_ids[b])
        ids = torch.tensor([[*made.prompt_ids[b], *made.response_BT[b, :n].tolist()]])
        # Token t of the response is predicted one place before it: of p + n places, the last n + 1 but the very last.
        s, t = (
            model(input_ids=ids).logits[0, p - 1 : p + n - 1, : one.pair.rows].log_softmax(-1)
            for model in (student or one.pair.student, one.pair.teacher)
        )
        d = KLS[name](s, t.detach())
        rows.append(torch.cat([d, d.new_zeros(made.valid_BT.shape[1] - n)]))
    return torch.stack(rows)


def gradients(
    one: Session, made: Rollout, weights_BT: Tensor, count: float, needs: frozenset[str] = MONITORED
) -> dict[str, Tensor]:
    """What the optimizer would get, before clipping."""
    one.trainer._apply_gradients = lambda loss: Update(loss, 0.0, 0.0, True, 0, 1.0)  # type: ignore[method-assign]
    scored, _ = one.trainer.score(made, needs)
    one.trainer.update(made, scored, weights_BT, count)
    found = {name: p.grad.clone() for name, p in one.pair.student.named_parameters()}
    one.pair.student.zero_grad()
    return found


def plain(loss: Tensor, model: PreTrainedModel) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def close(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("divergence", KLS)
def test_a_step_does_not_depend_on_the_micro_batch(
    selector: str, divergence: str, overrides: Overrides, tmp_path: Path
) -> None:
    # B: all at once. 1: no padding. 4: two micro-batches, of 4 and 2 rows.
    rule = [f"selector={selector}", f"divergence={divergence}"]
    whole, *split = (
        do_step(experiment(overrides, *rule, f"hardware.micro_batch={size}"), tmp_path) for size in (B, 1, 4)
    )
    assert whole.row["train/loss"] > 0.1
    for one in split:
        assert torch.equal(one.weights_BT, whole.weights_BT)
        for key in ("train/loss", "train/grad_norm", "select/reverse_kl_kept"):
            assert one.row[key] == pytest.approx(whole.row[key], rel=1e-6)
        close(one.student, whole.student, atol=1e-10)


@pytest.mark.parametrize("denominator", ["kept", "valid"])
@pytest.mark.parametrize("divergence", KLS)
def test_loss_and_gradient_are_those_of_plain_autograd(
    divergence: str, denominator: str, overrides: Overrides, tmp_path: Path
) -> None:
    exp = experiment(overrides, f"divergence={divergence}", f"loop.denominator={denominator}")
    done, one = do_step(exp, tmp_path), live(exp, tmp_path)
    # floor(0.4 * m) tokens of each response, at least 1: 4 + 1 + 3 + 1 + 4 + 1 of 12 + 2 + 8 + 2 + 12 + 4.
    assert done.rollout.lengths == [12, 2, 8, 2, 12, 4]
    assert done.weights_BT.sum(-1).tolist() == [4, 1, 3, 1, 4, 1]
    count = {"kept": 14.0, "valid": 40.0}[denominator]
    loss = (done.weights_BT * divergences(one, divergence, done.rollout)).sum() / count
    expected = plain(loss, one.pair.student)
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    assert done.row["train/loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert done.row["train/grad_norm"] == pytest.approx(norm.item(), rel=1e-6)
    # With what scoring leaves for the loss, and without, when the selector needed no scoring.
    for needs in (MONITORED, frozenset[str]()):
        close(gradients(one, done.rollout, done.weights_BT, count, needs), expected)


def test_soft_weights_weigh_tokens(overrides: Overrides, tmp_path: Path) -> None:
    one = live(experiment(overrides), tmp_path)
    made = script(one)
    weights_BT = torch.linspace(0.1, 2.0, made.valid_BT.numel()).reshape(made.valid_BT.shape) * made.valid_BT
    loss = (weights_BT * divergences(one, "reverse_kl", made)).sum() / 7.0
    close(gradients(one, made, weights_BT, 7.0), plain(loss, one.pair.student), atol=1e-7)


def test_only_the_student_learns(overrides: Overrides, tmp_path: Path) -> None:
    one = live(experiment(overrides), tmp_path)
    before = {name: value.clone() for name, value in one.pair.teacher.state_dict().items()}
    one_step(one, 1)
    assert not any(p.requires_grad or p.grad is not None for p in one.pair.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in one.pair.teacher.state_dict().items())


def test_dropped_tokens_give_no_gradient_even_when_a_micro_batch_keeps_none(
    overrides: Overrides, tmp_path: Path
) -> None:
    # Micro-batches of two rows; the middle one keeps nothing, and so does the last.
    one = live(experiment(overrides, "hardware.micro_batch=2"), tmp_path)
    made = script(one)
    weights_BT = torch.zeros(made.valid_BT.shape)
    weights_BT[0, 3] = weights_BT[1, 1] = 1.0
    d_BT = divergences(one, "reverse_kl", made)
    expected = plain((d_BT[0, 3] + d_BT[1, 1]) / 2, one.pair.student)
    close(gradients(one, made, weights_BT, 2.0), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_that_keeps_no_token_at_all_has_a_gradient_of_zero(
    tied: bool, overrides: Overrides, tmp_path: Path
) -> None:
    # Of zero, not none: between processes every weight's gradient is waited for.
    one = live(experiment(overrides, "loop.denominator=valid"), tmp_path)
    if not tied:
        one.pair.student.lm_head.weight = torch.nn.Parameter(one.pair.student.lm_head.weight.detach().clone())
    made = script(one)
    assert not any(g.any() for g in gradients(one, made, torch.zeros(made.valid_BT.shape), 40.0).values())


def test_tied_embeddings_learn_from_both_ends(overrides: Overrides, tmp_path: Path) -> None:
    one = live(experiment(overrides, "selector=full"), tmp_path)
    made = script(one)
    # The same student with the head as a matrix of its own: the tied gradient is the sum of its two.
    untied = copy.deepcopy(one.pair.student)
    untied.lm_head.weight = torch.nn.Parameter(untied.lm_head.weight.detach().clone())
    loss = (made.valid_BT * divergences(one, "reverse_kl", made, untied)).sum() / 40.0
    ends = plain(loss, untied)
    embedding, head = ends.pop("model.embed_tokens.weight"), ends.pop("lm_head.weight")
    assert embedding.abs().max() > 1e-4
    assert head.abs().max() > 1e-4
    found = gradients(one, made, made.valid_BT.float(), 40.0)
    close(found, ends | {"model.embed_tokens.weight": embedding + head})


@pytest.mark.parametrize(("role", "hidden", "layers"), [("teacher", 24, 2), ("student", 16, 1)])
def test_rows_that_pad_one_head_do_not_count(
    role: str, hidden: int, layers: int, overrides: Overrides, pair_dir: Path, tmp_path: Path
) -> None:
    exp = experiment(overrides)
    folder = save_model(tmp_path / role, seed=5, hidden=hidden, layers=layers, vocab=VOCABULARY + 9)
    weights = load_file(pair_dir / role / "model.safetensors")
    loud = torch.full((9, hidden), 3.0)  # logits that would drown the others, were they counted
    weights["model.embed_tokens.weight"] = torch.cat([weights["model.embed_tokens.weight"], loud])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = replace(exp.model, **{role: replace(getattr(exp.model, role), path=str(folder))})
    bare, padded = do_step(exp, tmp_path), do_step(replace(exp, model=model), tmp_path)
    assert torch.equal(padded.weights_BT, bare.weights_BT)
    assert padded.row["train/loss"] == pytest.approx(bare.row["train/loss"], rel=1e-6)
    assert padded.row["train/grad_norm"] == pytest.approx(bare.row["train/grad_norm"], rel=1e-6)
    close({name: value[: len(bare.student[name])] for name, value in padded.student.items()}, bare.student, atol=1e-10)


def test_bf16_rounds_the_step_and_keeps_the_weights_whole(overrides: Overrides, tmp_path: Path) -> None:
    wide = do_step(experiment(overrides, "selector=full"), tmp_path, torch.float32)
    AcceleratorState._reset_state(reset_partial_state=True)
    narrow = do_step(experiment(overrides, "selector=full", "loop.precision=bf16"), tmp_path, torch.float32)
    # bfloat16 has 8 bits of mantissa, 0.4 %.
    assert narrow.row["train/applied"]
    assert narrow.row["train/loss"] != wide.row["train/loss"]
    assert narrow.row["train/loss"] == pytest.approx(wide.row["train/loss"], rel=0.03)
    assert narrow.row["train/grad_norm"] == pytest.approx(wide.row["train/grad_norm"], rel=0.1)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in narrow.student.values())
