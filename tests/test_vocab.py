"""The LM-head engine against plain full logits, in float64; and that it never makes a tensor of (tokens x vocabulary)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence
from tipx.types import STATISTICS
from tipx.vocab import STUDENT_ONLY, TEACHER_ONLY, Head, Hidden, Vocab

N, D_S, D_T, V = 7, 5, 4, 13
CHUNKS = [1, 3, N, 100, "auto"]


def engine(chunk: int | str) -> Vocab:
    return Vocab(chunk=chunk, budget_mib=1)


@dataclass(frozen=True)
class World:
    """Student and teacher hidden states and heads, of different hidden sizes; sampled tokens; weights."""

    student: Hidden
    teacher: Hidden
    tokens_N: Tensor
    weights_N: Tensor


def world(n: int = N, v: int = V, dtype: torch.dtype = torch.float64, *, bias: bool = True) -> World:
    g = torch.manual_seed(n * 1000 + v)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=torch.float64).to(dtype)

    student = Hidden(draw(n, D_S), Head(draw(v, D_S), draw(v) if bias else None))
    teacher = Hidden(draw(n, D_T), Head(draw(v, D_T)))
    return World(student, teacher, torch.randint(v, (n,), generator=g), torch.rand(n, generator=g).to(dtype))


def full_log_probs(hidden: Hidden) -> Tensor:
    """All logits at once, float64."""
    logits_NV = hidden.states_ND.double() @ hidden.head.weight_VD.double().T
    return (logits_NV if hidden.head.bias_V is None else logits_NV + hidden.head.bias_V.double()).log_softmax(-1)


def full_stats(w: World, divergence: TokenDivergence) -> dict[str, Tensor]:
    s_NV, t_NV = full_log_probs(w.student), full_log_probs(w.teacher)
    m_NV = ((s_NV.exp() + t_NV.exp()) / 2).log()
    kl: Callable[[Tensor, Tensor], Tensor] = lambda p, q: (p.exp() * (p - q)).sum(-1)  # noqa: E731
    return {
        "student_entropy": -(s_NV.exp() * s_NV).sum(-1),
        "teacher_entropy": -(t_NV.exp() * t_NV).sum(-1),
        "reverse_kl": kl(s_NV, t_NV),
        "forward_kl": kl(t_NV, s_NV),
        "jsd": (kl(s_NV, m_NV) + kl(t_NV, m_NV)) / 2,
        "student_logprob": s_NV[torch.arange(len(s_NV)), w.tokens_N],
        "teacher_logprob": t_NV[torch.arange(len(t_NV)), w.tokens_N],
        "loss": divergence(s_NV, t_NV),
    }


class Untouchable(Head):
    """A head whose product must not be taken."""

    def log_probs(self, hidden_ND: Tensor) -> Tensor:  # noqa: ARG002
        raise AssertionError("this head product was not needed")


class Counted(Head):
    """A head that notes how many rows it is given."""

    def log_probs(self, hidden_ND: Tensor) -> Tensor:
        self.rows.append(len(hidden_ND))  # type: ignore[attr-defined]
        return super().log_probs(hidden_ND)


def counted(hidden: Hidden) -> tuple[Hidden, list[int]]:
    head = Counted(hidden.head.weight_VD, hidden.head.bias_V)
    object.__setattr__(head, "rows", rows := [])
    return Hidden(hidden.states_ND, head), rows


@pytest.mark.parametrize("chunk", CHUNKS)
def test_stats_equal_full_logits(chunk: int | str) -> None:
    w, divergence = world(), GeneralisedJSD(beta=0.3)
    stats = engine(chunk).stats(w.student, w.teacher, w.tokens_N, STATISTICS, divergence)
    expected = full_stats(w, divergence)
    assert stats.keys() == expected.keys() == STATISTICS
    for name, value_N in stats.items():
        torch.testing.assert_close(value_N, expected[name], rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("divergence", [ReverseKL(), ForwardKL(), GeneralisedJSD(beta=0.5)], ids=["rkl", "fkl", "jsd"])
def test_loss_and_gradients_equal_full_logits(chunk: int | str, divergence: TokenDivergence, *, bias: bool) -> None:
    w = world(bias=bias)
    leaves = [p.requires_grad_() for p in (w.student.states_ND, w.student.head.weight_VD, w.student.head.bias_V) if p is not None]
    plain = (w.weights_N * divergence(full_log_probs(w.student), full_log_probs(w.teacher))).sum()
    tiled = engine(chunk).loss(w.student, w.teacher, w.weights_N, divergence)
    torch.testing.assert_close(tiled, plain, rtol=1e-12, atol=0)
    for got, want in zip(torch.autograd.grad(tiled, leaves), torch.autograd.grad(plain, leaves), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


def test_loss_is_the_sum_over_kept_rows_of_weighted_stats() -> None:
    w, kept_N = world(), torch.tensor([True, False, True, True, False, False, True])
    loss_N = engine(3).stats(w.student, w.teacher, w.tokens_N, frozenset({"loss"}), ReverseKL())["loss"]
    loss = engine(2).loss(w.student[kept_N], w.teacher[kept_N], w.weights_N[kept_N], ReverseKL())
    torch.testing.assert_close(loss, (loss_N * w.weights_N)[kept_N].sum())


def test_no_rows_give_zero_loss_and_zero_gradients() -> None:
    # A micro-batch may keep nothing; every parameter must still take part, or processes that average gradients hang.
    w, none_N = world(), torch.zeros(N, dtype=torch.bool)
    leaves = [w.student.states_ND, w.student.head.weight_VD, w.student.head.bias_V]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = engine("auto").loss(w.student[none_N], w.teacher[none_N], w.weights_N[none_N], ReverseKL())
    assert loss.item() == 0
    loss.backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()
    stats = engine("auto").stats(w.student[none_N], w.teacher[none_N], w.tokens_N[none_N], STATISTICS, ReverseKL())
    assert {name: tuple(value.shape) for name, value in stats.items()} == dict.fromkeys(STATISTICS, (0,))


def test_no_needs_no_work() -> None:
    w = world()
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    assert engine(1).stats(None, idle, w.tokens_N, frozenset(), ReverseKL()) == {}


@pytest.mark.parametrize("needs", [STUDENT_ONLY, frozenset({"student_entropy"}), frozenset({"student_logprob"})])
def test_the_teacher_is_not_touched_for_the_students_own(needs: frozenset[str]) -> None:
    w = world()
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    stats = engine(3).stats(w.student, idle, w.tokens_N, needs, ReverseKL())
    for name in needs:
        torch.testing.assert_close(stats[name], full_stats(w, ReverseKL())[name])


@pytest.mark.parametrize("needs", [TEACHER_ONLY, frozenset({"teacher_entropy"}), frozenset({"teacher_logprob"})])
def test_the_student_is_not_needed_for_the_teachers_own(needs: frozenset[str]) -> None:
    w = world()
    stats = engine(3).stats(None, w.teacher, w.tokens_N, needs, ReverseKL())
    for name in needs:
        torch.testing.assert_close(stats[name], full_stats(w, ReverseKL())[name])


@pytest.mark.parametrize("name", sorted(STATISTICS - TEACHER_ONLY - STUDENT_ONLY))
def test_what_lies_between_needs_both(name: str) -> None:
    w = world()
    with pytest.raises(ValueError, match="student"):
        engine(3).stats(None, w.teacher, w.tokens_N, frozenset({name}), ReverseKL())
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    with pytest.raises(AssertionError, match="not needed"):
        engine(3).stats(w.student, idle, w.tokens_N, frozenset({name}), ReverseKL())


def test_each_row_goes_through_each_head_once() -> None:
    w = world()
    (student, s_rows), (teacher, t_rows) = counted(w.student), counted(w.teacher)
    engine(3).stats(student, teacher, w.tokens_N, STATISTICS, ReverseKL())
    assert s_rows == t_rows == [3, 3, 1]


def test_unknown_statistics_are_refused() -> None:
    w = world()
    with pytest.raises(ValueError, match="surprise"):
        engine(3).stats(w.student, w.teacher, w.tokens_N, frozenset({"surprise"}), ReverseKL())


def test_stats_carry_no_gradient() -> None:
    w = world()
    w.student.states_ND.requires_grad_()
    stats = engine(3).stats(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL())
    assert not any(value.requires_grad for value in stats.values())


def test_bf16_gives_fp32_statistics() -> None:
    # Logits of a few units are rounded to 8 bits (relative 2^-9, here up to 0.02); all after them is fp32.
    w = world(n=40, dtype=torch.bfloat16)
    stats = engine(16).stats(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL())
    for name, expected_N in full_stats(w, ReverseKL()).items():
        assert stats[name].dtype == torch.float32
        torch.testing.assert_close(stats[name].double(), expected_N, rtol=0.03, atol=0.03, msg=name)


def test_bf16_loss_reaches_bf16_weights() -> None:
    w = world(dtype=torch.bfloat16)
    w.student.head.weight_VD.requires_grad_()
    loss = engine(3).loss(w.student, w.teacher, w.weights_N.float(), ReverseKL())
    assert loss.dtype == torch.float32
    (grad_VD,) = torch.autograd.grad(loss, [w.student.head.weight_VD])
    exact = Hidden(w.student.states_ND.double(), Head(w.student.head.weight_VD.detach().double().requires_grad_(), w.student.head.bias_V))
    plain = (w.weights_N.double() * ReverseKL()(full_log_probs(exact), full_log_probs(w.teacher))).sum()
    torch.testing.assert_close(loss.double(), plain, rtol=0.03, atol=0.03)
    (expected_VD,) = torch.autograd.grad(plain, [exact.head.weight_VD])
    torch.testing.assert_close(grad_VD.double(), expected_VD, rtol=0.05, atol=0.05)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives, backward included."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ARG002
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


def test_no_tensor_of_tokens_by_vocabulary() -> None:
    # 64 x 97 would be 6208. A tile is 4 x 97 = 388; the head and its gradient 97 x 5 = 485; 64 hidden states 320.
    w = world(n=64, v=97)
    for leaf in (w.student.states_ND, w.student.head.weight_VD):
        leaf.requires_grad_()
    with Largest() as seen:
        engine(4).loss(w.student, w.teacher, w.weights_N, ReverseKL()).backward()
    assert seen.numel == 97 * D_S
    with Largest() as seen:
        engine(4).stats(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL())
    assert seen.numel == 97 * D_S  # the head, transposed; the largest new tensor is a tile
    with Largest() as seen:
        engine(6).loss(w.student, w.teacher, w.weights_N, ReverseKL()).backward()
    assert seen.numel == 6 * 97


def test_tiles_are_not_kept_for_the_backward_pass() -> None:
    # Without recomputation the log-probabilities of all tiles, 64 x 97 and more, would stay alive until then.
    w = world(n=64, v=97)
    w.student.states_ND.requires_grad_()
    kept: list[int] = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        loss = engine(4).loss(w.student, w.teacher, w.weights_N, ReverseKL())
    assert sum(kept) < 64 * 97
    loss.backward()
    assert w.student.states_ND.grad is not None


def test_auto_fills_the_budget() -> None:
    # 1 MiB / (1000 logits * 32 bytes) = 32.768, so 32 rows; at least one, however large the vocabulary.
    assert list(engine("auto").tiles(70, 1000)) == [slice(0, 32), slice(32, 64), slice(64, 70)]
    assert list(engine("auto").tiles(2, 10**6)) == [slice(0, 1), slice(1, 2)]
    assert list(engine(5).tiles(0, 1000)) == []
