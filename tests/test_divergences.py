"""Divergences against scipy and closed forms, in float64; and at the edges where naive formulas give nan."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from torch import Tensor

from tipx.config import build, conf_dir, load
from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, entropy
from tipx.errors import ConfigError
from tipx.vocab import Head, Hidden, Vocab

BETAS = (0.1, 0.5, 0.9)
ALL = [ReverseKL(), ForwardKL(), *(GeneralisedJSD(beta=beta) for beta in BETAS)]
IDS = ["reverse", "forward", *(f"jsd{beta}" for beta in BETAS)]
EVERY = pytest.mark.parametrize("divergence", ALL, ids=IDS)


def logits(seed: int, n: int = 6, v: int = 11, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return scale * torch.randn(n, v, generator=torch.manual_seed(seed), dtype=dtype)


def logs(*p: float) -> Tensor:
    """One row of log-probabilities."""
    return torch.tensor([p], dtype=torch.float64).log()


def reference(divergence: TokenDivergence, student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """From probabilities, by scipy; entries of probability 0 are handled by `rel_entr`."""
    match divergence:
        case ReverseKL():
            return rel_entr(student, teacher).sum(-1)
        case ForwardKL():
            return rel_entr(teacher, student).sum(-1)
        case GeneralisedJSD(beta=beta):
            m = beta * teacher + (1 - beta) * student
            return beta * rel_entr(teacher, m).sum(-1) + (1 - beta) * rel_entr(student, m).sum(-1)
    raise AssertionError(divergence)


@EVERY
def test_against_scipy(divergence: TokenDivergence) -> None:
    s_NV, t_NV = logits(0), logits(1)
    expected = reference(divergence, s_NV.softmax(-1).numpy(), t_NV.softmax(-1).numpy())
    np.testing.assert_allclose(divergence(s_NV.log_softmax(-1), t_NV.log_softmax(-1)).numpy(), expected, rtol=1e-12)


def test_closed_forms() -> None:
    p, q = logs(1 / 2, 1 / 2), logs(1 / 4, 3 / 4)
    # KL(p || q) = 1/2 log 2 + 1/2 log 2/3 = 1/2 log 4/3;  KL(q || p) = 1/4 log 1/2 + 3/4 log 3/2.
    p_to_q, q_to_p = 0.5 * math.log(4 / 3), 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)
    # Reverse is KL(student || teacher), forward KL(teacher || student); the student comes first.
    assert ReverseKL()(p, q).item() == pytest.approx(p_to_q, rel=1e-12)
    assert ForwardKL()(p, q).item() == pytest.approx(q_to_p, rel=1e-12)
    assert ReverseKL()(q, p).item() == pytest.approx(q_to_p, rel=1e-12)
    # Distributions with nothing in common: sum of beta log(1 / beta) and (1 - beta) log(1 / (1 - beta)).
    for beta in BETAS:
        apart = GeneralisedJSD(beta=beta)(logs(1, 0), logs(0, 1)).item()
        assert apart == pytest.approx(-beta * math.log(beta) - (1 - beta) * math.log(1 - beta), rel=1e-12)
    assert entropy(logs(*[1 / 8] * 8)).item() == pytest.approx(math.log(8), rel=1e-12)
    assert entropy(logs(1, 0, 0)).item() == 0
    # 1/2 log 2 + 2 * 1/4 log 4 = 3/2 log 2
    assert entropy(logs(1 / 2, 1 / 4, 1 / 4, 0)).item() == pytest.approx(1.5 * math.log(2), rel=1e-12)


@EVERY
@pytest.mark.parametrize(("dtype", "slack"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_never_negative_and_zero_only_for_equals(divergence: TokenDivergence, dtype: torch.dtype, slack: float) -> None:
    s_NV = logits(2, 500, dtype=dtype).log_softmax(-1)
    near_NV = (logits(2, 500, dtype=dtype) + 1e-4 * logits(3, 500, dtype=dtype)).log_softmax(-1)
    assert divergence(s_NV, near_NV).min() >= -slack
    assert divergence(s_NV, logits(4, 500, dtype=dtype).log_softmax(-1)).min() > 1e-3
    assert divergence(s_NV, s_NV).abs().max() <= slack


def test_jsd_is_symmetric_and_bounded_at_one_half() -> None:
    jsd = GeneralisedJSD(beta=0.5)
    s_NV, t_NV = logits(5, 200, scale=6.0).log_softmax(-1), logits(6, 200, scale=6.0).log_softmax(-1)
    torch.testing.assert_close(jsd(s_NV, t_NV), jsd(t_NV, s_NV), rtol=1e-12, atol=0)
    assert jsd(s_NV, t_NV).max() <= math.log(2)
    square_root = jensenshannon(s_NV.exp().numpy(), t_NV.exp().numpy(), axis=-1)
    np.testing.assert_allclose(jsd(s_NV, t_NV).numpy(), square_root**2, rtol=1e-9)
    assert jsd(logs(1, 0), logs(0, 1)).item() == pytest.approx(math.log(2), rel=1e-12)


def test_beta_exchanges_teacher_and_student() -> None:
    s_NV, t_NV = logits(7).log_softmax(-1), logits(8).log_softmax(-1)
    torch.testing.assert_close(GeneralisedJSD(beta=0.2)(s_NV, t_NV), GeneralisedJSD(beta=0.8)(t_NV, s_NV))
    assert not torch.allclose(GeneralisedJSD(beta=0.2)(s_NV, t_NV), GeneralisedJSD(beta=0.8)(s_NV, t_NV))


def test_limits_of_beta() -> None:
    s_NV, t_NV = logits(9, scale=1.0).log_softmax(-1), logits(10, scale=1.0).log_softmax(-1)
    small = 1e-6
    to_zero = GeneralisedJSD(beta=small)(s_NV, t_NV) / small
    to_one = GeneralisedJSD(beta=1 - small)(s_NV, t_NV) / small
    torch.testing.assert_close(to_zero, ForwardKL()(s_NV, t_NV), rtol=1e-4, atol=0)
    torch.testing.assert_close(to_one, ReverseKL()(s_NV, t_NV), rtol=1e-4, atol=0)


@EVERY
def test_gradients(divergence: TokenDivergence) -> None:
    s_NV, t_NV = logits(11, 3, 5).requires_grad_(), logits(12, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: divergence(s.log_softmax(-1), t.log_softmax(-1)), (s_NV, t_NV))


@EVERY
def test_the_gradient_in_tiles_is_that_of_autograd(divergence: TokenDivergence) -> None:
    # The engine sees some columns at a time: values and slopes add up, and the gradient of a column needs the slope.
    s_NV, t_NV = logits(17), logits(18)
    log_p_NV, log_q_NV = s_NV.log_softmax(-1), t_NV.log_softmax(-1)
    tiles = [slice(0, 4), slice(4, 5), slice(5, 11)]
    rows_N, grad_NV = value_and_grad(divergence, s_NV, t_NV)
    slope_N = sum(divergence.slope(log_p_NV[:, c], log_q_NV[:, c]) for c in tiles)
    torch.testing.assert_close(sum(divergence(log_p_NV[:, c], log_q_NV[:, c]) for c in tiles), rows_N)
    for c in tiles:
        tile_NC = divergence.gradient(log_p_NV[:, c].clone(), log_q_NV[:, c].clone(), slope_N[:, None])
        torch.testing.assert_close(tile_NC, grad_NV[:, c])
    from_sums = divergence.from_sums(ReverseKL()(log_p_NV, log_q_NV), ForwardKL()(log_p_NV, log_q_NV))
    if from_sums is not None:
        torch.testing.assert_close(from_sums, (rows_N, slope_N))


def value_and_grad(divergence: TokenDivergence, s_NV: Tensor, t_NV: Tensor) -> tuple[Tensor, Tensor]:
    leaf_NV = s_NV.clone().requires_grad_()
    rows_N = divergence(leaf_NV.log_softmax(-1), t_NV.log_softmax(-1))
    rows_N.sum().backward()
    assert leaf_NV.grad is not None
    return rows_N.detach(), leaf_NV.grad


@EVERY
def test_entries_that_both_rule_out_do_not_exist(divergence: TokenDivergence) -> None:
    s_NV, t_NV = logits(13), logits(14)
    masked = [x_NV.index_fill(-1, torch.tensor([2, 7]), -math.inf) for x_NV in (s_NV, t_NV)]
    left = [0, 1, 3, 4, 5, 6, 8, 9, 10]
    rows_N, grad_NV = value_and_grad(divergence, *masked)
    expected_N, expected_grad_NV = value_and_grad(divergence, s_NV[:, left], t_NV[:, left])
    torch.testing.assert_close(rows_N, expected_N)
    torch.testing.assert_close(grad_NV[:, left], expected_grad_NV)
    assert not grad_NV[:, [2, 7]].any()


@pytest.mark.parametrize(
    ("divergence", "who"),
    [
        (ReverseKL(), "student"),
        (ForwardKL(), "teacher"),
        *((d, who) for d in ALL[2:] for who in ("student", "teacher")),
    ],
)
def test_one_sided_zeros_where_the_value_is_finite(divergence: TokenDivergence, who: str) -> None:
    s_NV, t_NV = logits(15, scale=1.0), logits(16, scale=1.0)
    inputs = {"student": s_NV, "teacher": t_NV}
    hard = inputs | {who: inputs[who].index_fill(-1, torch.tensor([0, 4]), -math.inf)}
    rows_N, grad_NV = value_and_grad(divergence, hard["student"], hard["teacher"])
    probabilities = [hard[name].softmax(-1).numpy() for name in ("student", "teacher")]
    np.testing.assert_allclose(rows_N.numpy(), reference(divergence, *probabilities), rtol=1e-12)
    # The gradient is the limit of that of ever smaller probabilities.
    soft = inputs | {who: inputs[who].index_fill(-1, torch.tensor([0, 4]), -60.0)}
    torch.testing.assert_close(grad_NV, value_and_grad(divergence, soft["student"], soft["teacher"])[1])


def test_infinite_where_the_definition_is() -> None:
    assert ReverseKL()(logs(0.5, 0.5), logs(1, 0)).item() == math.inf
    assert ForwardKL()(logs(1, 0), logs(0.5, 0.5)).item() == math.inf


@EVERY
@pytest.mark.parametrize(
    "pair",
    [
        ([1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]),
        ([1e4, 0.0, 0.0], [1e4, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, -1e4, 1e4]),
        ([-1e4, -1e4, -1e4], [0.0, 0.0, 0.0]),
    ],
)
def test_extreme_logits_are_finite(divergence: TokenDivergence, pair: tuple[list[float], list[float]]) -> None:
    for dtype in (torch.float32, torch.float64):
        rows_N, grad_NV = value_and_grad(divergence, *(torch.tensor([row], dtype=dtype) for row in pair))
        assert rows_N.isfinite().all()
        assert grad_NV.isfinite().all()
        assert rows_N.item() >= -1e-6


def test_extreme_logits_have_the_right_size() -> None:
    # The student is sure of token 0, which the teacher gives log-probability -2e4, and the other way round.
    s_NV, t_NV = torch.tensor([[1e4, -1e4, 0.0]]).log_softmax(-1), torch.tensor([[-1e4, 1e4, 0.0]]).log_softmax(-1)
    assert ReverseKL()(s_NV, t_NV).item() == ForwardKL()(s_NV, t_NV).item() == 2e4
    assert GeneralisedJSD(beta=0.5)(s_NV, t_NV).item() == pytest.approx(math.log(2), rel=1e-6)


def plain_kl(p_NV: Tensor, q_NV: Tensor) -> Tensor:
    """From probabilities that are not 0."""
    return (p_NV * (p_NV / q_NV).log()).sum(-1)


def plain_jsd(s_NV: Tensor, t_NV: Tensor) -> Tensor:
    m_NV = (s_NV + t_NV) / 2
    return (plain_kl(s_NV, m_NV) + plain_kl(t_NV, m_NV)) / 2


def plain_topk(s_NV: Tensor, t_NV: Tensor) -> Tensor:
    """Over the teacher's 64 likeliest entries, and all others as one."""
    best_Nk = t_NV.sort(descending=True).indices[:, :64]
    parts = [
        torch.cat([x_NV.gather(-1, best_Nk), 1 - x_NV.gather(-1, best_Nk).sum(-1, True)], -1) for x_NV in (s_NV, t_NV)
    ]
    return plain_kl(*parts)


# The presets of `conf/divergence`, of the probabilities of student and teacher.
PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "reverse_kl": plain_kl,
    "forward_kl": lambda s_NV, t_NV: plain_kl(t_NV, s_NV),
    "jsd": plain_jsd,
    "topk": plain_topk,
}
PRESETS = sorted(path.stem for path in Path(conf_dir(), "divergence").glob("*.yaml"))


def test_every_preset_has_its_formula_here() -> None:
    assert PLAIN.keys() == set(PRESETS)


@pytest.mark.parametrize("chunk", [7, 90])
@pytest.mark.parametrize("name", PRESETS)
def test_the_gradient_of_every_preset_is_that_of_autograd_on_full_logits(name: str, chunk: int) -> None:
    g = torch.manual_seed(0)
    states_ND, head_VD, bias_V = (
        torch.randn(*size, generator=g, dtype=torch.float64) for size in ((6, 5), (90, 5), (90,))
    )
    teacher_NV, weights_N = logits(1, 6, 90, scale=2.0), torch.rand(6, generator=g, dtype=torch.float64)
    leaves = [one.requires_grad_() for one in (states_ND, head_VD, bias_V)]
    full_N = PLAIN[name]((states_ND @ head_VD.T + bias_V).softmax(-1), teacher_NV.softmax(-1))
    plain = (weights_N * full_N).sum()
    # A teacher whose logits are its states.
    teacher = Hidden(teacher_NV, Head(torch.eye(90, dtype=torch.float64)))
    divergence = build(load([f"divergence={name}"])).divergence
    engine = Vocab(chunk=chunk, budget_mib=1, compile=False)
    tiled = engine.compute_loss(Hidden(states_ND, Head(head_VD, bias_V)), teacher, weights_N, divergence)
    torch.testing.assert_close(tiled, plain, rtol=1e-10, atol=0)
    for got, want in zip(torch.autograd.grad(tiled, leaves), torch.autograd.grad(plain, leaves), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["divergence=reverse_kl"], ReverseKL()),
        (["divergence=forward_kl"], ForwardKL()),
        (["divergence=jsd"], GeneralisedJSD(beta=0.5)),
        (["divergence=jsd", "divergence.beta=0.3"], GeneralisedJSD(beta=0.3)),
    ],
)
def test_presets(overrides: list[str], expected: Callable[..., Tensor]) -> None:
    assert build(load(overrides)).divergence == expected


@pytest.mark.parametrize("beta", ["0", "1", "1.5", "-0.1"])
def test_beta_is_in_the_open_interval(beta: str) -> None:
    # At the ends the divergence is 0 for all arguments: nothing would be learnt.
    with pytest.raises(ConfigError, match=r"divergence\.beta.*(less|greater) than"):
        build(load(["divergence=jsd", f"divergence.beta={beta}"]))
