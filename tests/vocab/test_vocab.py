"""The LM-head engine against plain full logits, in float64; its tiles and memory are in `test_vocab_tiles`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence
from tipx.types import STATISTICS
from tipx.vocab import STUDENT_ONLY, TEACHER_ONLY, Head, Hidden, Vocab
from tipx.vocab.buffers import TileBuffers
from tipx.vocab.vocab_pass import Tiles

N, D_S, D_T, V = 7, 5, 4, 13
CHUNKS = [1, 3, N, 100, "auto"]


def engine(chunk: int | str) -> Vocab:
    return Vocab(chunk=chunk, budget_mib="auto" if chunk == "auto" else 1, compile=False)


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

    def logits_tile(self, states_ND: Tensor, columns: slice, buffers: TileBuffers, name: str) -> Tensor:
        raise AssertionError("this head product was not needed")


@dataclass(frozen=True)
class Counted(Head):
    """A head that notes how many logits it is asked for."""

    asked: list[int] = field(default_factory=list)

    def logits_tile(self, states_ND: Tensor, columns: slice, buffers: TileBuffers, name: str) -> Tensor:
        logits_NC = super().logits_tile(states_ND, columns, buffers, name)
        self.asked.append(logits_NC.numel())
        return logits_NC


def counted(hidden: Hidden) -> tuple[Hidden, list[int]]:
    head = Counted(hidden.head.weight_VD, hidden.head.bias_V)
    return Hidden(hidden.states_ND, head), head.asked


@pytest.mark.parametrize("chunk", CHUNKS)
def test_stats_equal_full_logits(chunk: int | str) -> None:
    w, divergence = world(), GeneralisedJSD(beta=0.3)
    stats = engine(chunk).compute_statistics(w.student, w.teacher, w.tokens_N, STATISTICS, divergence).values
    expected = full_stats(w, divergence)
    assert stats.keys() == expected.keys() == STATISTICS
    for name, value_N in stats.items():
        torch.testing.assert_close(value_N, expected[name], rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("divergence", [ReverseKL(), ForwardKL(), GeneralisedJSD(beta=0.5)], ids=["rkl", "fkl", "jsd"])
def test_loss_and_gradients_equal_full_logits(chunk: int | str, divergence: TokenDivergence, *, bias: bool) -> None:
    w = world(bias=bias)
    leaves = [
        p.requires_grad_()
        for p in (w.student.states_ND, w.student.head.weight_VD, w.student.head.bias_V)
        if p is not None
    ]
    plain = (w.weights_N * divergence(full_log_probs(w.student), full_log_probs(w.teacher))).sum()
    tiled = engine(chunk).compute_loss(w.student, w.teacher, w.weights_N, divergence)
    torch.testing.assert_close(tiled, plain, rtol=1e-12, atol=0)
    for got, want in zip(torch.autograd.grad(tiled, leaves), torch.autograd.grad(plain, leaves), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


def test_loss_is_the_sum_over_kept_rows_of_weighted_stats() -> None:
    w, kept_N = world(), torch.tensor([True, False, True, True, False, False, True])
    loss_N = (
        engine(3).compute_statistics(w.student, w.teacher, w.tokens_N, frozenset({"loss"}), ReverseKL()).values["loss"]
    )
    loss = engine(2).compute_loss(w.student[kept_N], w.teacher[kept_N], w.weights_N[kept_N], ReverseKL())
    torch.testing.assert_close(loss, (loss_N * w.weights_N)[kept_N].sum())


def test_no_rows_give_zero_loss_and_zero_gradients() -> None:
    # A micro-batch may keep nothing; every parameter must still take part, or processes that average gradients hang.
    w, none_N = world(), torch.zeros(N, dtype=torch.bool)
    leaves = [w.student.states_ND, w.student.head.weight_VD, w.student.head.bias_V]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = engine("auto").compute_loss(w.student[none_N], w.teacher[none_N], w.weights_N[none_N], ReverseKL())
    assert loss.item() == 0
    loss.backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert not leaf.grad.any()
    stats = (
        engine("auto")
        .compute_statistics(w.student[none_N], w.teacher[none_N], w.tokens_N[none_N], STATISTICS, ReverseKL())
        .values
    )
    assert {name: tuple(value.shape) for name, value in stats.items()} == dict.fromkeys(STATISTICS, (0,))


@pytest.mark.parametrize("needs", [{"reverse_kl"}, {"student_entropy"}, {"teacher_logprob"}, {"jsd"}], ids=str)
def test_no_rows_give_the_same_names_as_some(needs: set[str]) -> None:
    # Processes gather each statistic together: one without tokens must take part in each.
    w, none_N = world(), torch.zeros(N, dtype=torch.bool)
    some, none = (
        engine("auto").compute_statistics(
            w.student[rows], w.teacher[rows], w.tokens_N[rows], frozenset(needs), ReverseKL()
        )
        for rows in (~none_N, none_N)
    )
    assert some.values.keys() == none.values.keys() >= needs
    assert (some.forward_sums is None) == (none.forward_sums is None)


def test_no_needs_no_work() -> None:
    w = world()
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    assert engine(1).compute_statistics(None, idle, w.tokens_N, frozenset(), ReverseKL()).values == {}


@pytest.mark.parametrize("needs", [STUDENT_ONLY, frozenset({"student_entropy"}), frozenset({"student_logprob"})])
def test_the_teacher_is_not_touched_for_the_students_own(needs: frozenset[str]) -> None:
    w = world()
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    stats = engine(3).compute_statistics(w.student, idle, w.tokens_N, needs, ReverseKL()).values
    for name in needs:
        torch.testing.assert_close(stats[name], full_stats(w, ReverseKL())[name])


@pytest.mark.parametrize("needs", [TEACHER_ONLY, frozenset({"teacher_entropy"}), frozenset({"teacher_logprob"})])
def test_the_student_is_not_needed_for_the_teachers_own(needs: frozenset[str]) -> None:
    w = world()
    stats = engine(3).compute_statistics(None, w.teacher, w.tokens_N, needs, ReverseKL()).values
    for name in needs:
        torch.testing.assert_close(stats[name], full_stats(w, ReverseKL())[name])


@pytest.mark.parametrize("name", sorted(STATISTICS - TEACHER_ONLY - STUDENT_ONLY))
def test_what_lies_between_needs_both(name: str) -> None:
    w = world()
    with pytest.raises(ValueError, match="student"):
        engine(3).compute_statistics(None, w.teacher, w.tokens_N, frozenset({name}), ReverseKL())
    idle = Hidden(w.teacher.states_ND, Untouchable(w.teacher.head.weight_VD))
    with pytest.raises(AssertionError, match="not needed"):
        engine(3).compute_statistics(w.student, idle, w.tokens_N, frozenset({name}), ReverseKL())


def products(loss: Callable[[Vocab, Hidden, Hidden], Tensor | None], engine: Vocab) -> list[int]:
    """Products of (N x V) of student and teacher that something takes, gradients aside."""
    w = world()
    w.student.states_ND.requires_grad_()
    (student, ours), (teacher, theirs) = counted(w.student), counted(w.teacher)
    total = loss(engine, student, teacher)
    if total is not None:
        total.backward()
    return [sum(asked) / (N * V) for asked in (ours, theirs)]


class Lean(Vocab):
    """An engine that never keeps the logits of a whole row."""

    def split_tiles(self, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        return super().split_tiles(rows, size, device, keep=False)


def test_head_products_are_as_few_as_counted() -> None:
    w, weights_N = world(), torch.ones(N, dtype=torch.float64)
    sizes: dict[str, Any] = {"chunk": 3, "budget_mib": 1, "compile": False}
    engines = {"logits once": Vocab(**sizes), "logits twice": Lean(**sizes)}

    def score(needs: frozenset[str], divergence: TokenDivergence) -> list[int]:
        return products(
            lambda e, s, t: e.compute_statistics(s, t, w.tokens_N, needs, divergence) and None, engines["logits twice"]
        )

    def train(divergence: TokenDivergence, how: str) -> list[int]:
        return products(lambda e, s, t: e.compute_loss(s, t, weights_N, divergence), engines[how])

    def both(divergence: TokenDivergence, how: str) -> list[int]:
        def run(e: Vocab, s: Hidden, t: Hidden) -> Tensor:
            scores = e.compute_statistics(s, t, w.tokens_N, frozenset({"loss"}), divergence)
            return e.compute_loss(s, t, weights_N, divergence, scores.forward_sums)

        return products(run, engines[how])

    assert score(STATISTICS - {"jsd"}, ReverseKL()) == [1, 1]  # one pass for seven statistics
    assert score(frozenset({"student_entropy", "student_logprob"}), ReverseKL()) == [1, 0]
    assert score(frozenset({"teacher_entropy"}), ReverseKL()) == [0, 1]
    for divergence in (ReverseKL(), ForwardKL(), GeneralisedJSD(beta=0.5)):
        assert train(divergence, "logits once") == [1, 1]
    for divergence in (ReverseKL(), ForwardKL()):
        assert train(divergence, "logits twice") == [2, 2]  # forward, and again in the backward pass
        for how in engines:
            assert both(divergence, how) == [2, 2]  # scoring was the forward pass
    assert train(GeneralisedJSD(beta=0.5), "logits twice") == [3, 3]  # the mixture needs log-sum-exps first


def test_unknown_statistics_are_refused() -> None:
    w = world()
    with pytest.raises(KeyError, match="surprise"):
        engine(3).compute_statistics(w.student, w.teacher, w.tokens_N, frozenset({"surprise"}), ReverseKL())


def test_stats_carry_no_gradient() -> None:
    w = world()
    w.student.states_ND.requires_grad_()
    stats = engine(3).compute_statistics(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL()).values
    assert not any(value.requires_grad for value in stats.values())


def test_bf16_gives_fp32_statistics() -> None:
    # The factors are rounded; their product is not.
    w = world(n=40, dtype=torch.bfloat16)
    stats = engine(16).compute_statistics(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL()).values
    for name, expected_N in full_stats(w, ReverseKL()).items():
        assert stats[name].dtype == torch.float32
        torch.testing.assert_close(stats[name].double(), expected_N, rtol=1e-4, atol=1e-5, msg=name)


def test_bf16_loss_reaches_bf16_weights() -> None:
    w = world(dtype=torch.bfloat16)
    w.student.head.weight_VD.requires_grad_()
    loss = engine(3).compute_loss(w.student, w.teacher, w.weights_N.float(), ReverseKL())
    assert loss.dtype == torch.float32
    (grad_VD,) = torch.autograd.grad(loss, [w.student.head.weight_VD])
    exact = Hidden(
        w.student.states_ND.double(),
        Head(w.student.head.weight_VD.detach().double().requires_grad_(), w.student.head.bias_V),
    )
    plain = (w.weights_N.double() * ReverseKL()(full_log_probs(exact), full_log_probs(w.teacher))).sum()
    torch.testing.assert_close(loss.double(), plain, rtol=0.03, atol=0.03)
    (expected_VD,) = torch.autograd.grad(plain, [exact.head.weight_VD])
    torch.testing.assert_close(grad_VD.double(), expected_VD, rtol=0.05, atol=0.05)


def test_scaled_and_soft_capped_heads_equal_full_logits() -> None:
    w = world()
    head = replace(w.student.head, scale=0.7, softcap=2.0)
    leaves = [w.student.states_ND.requires_grad_(), head.weight_VD.requires_grad_()]
    raw_NV = w.student.states_ND @ head.weight_VD.T + head.bias_V
    plain = (
        w.weights_N * ReverseKL()((2 * torch.tanh(0.7 * raw_NV / 2)).log_softmax(-1), full_log_probs(w.teacher))
    ).sum()
    tiled = engine(3).compute_loss(Hidden(w.student.states_ND, head), w.teacher, w.weights_N, ReverseKL())
    torch.testing.assert_close(tiled, plain)
    for got, want in zip(torch.autograd.grad(tiled, leaves), torch.autograd.grad(plain, leaves), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("divergence", [ReverseKL(), ForwardKL(), GeneralisedJSD(beta=0.5)], ids=["rkl", "fkl", "jsd"])
@pytest.mark.parametrize("case", ["huge", "one-hot", "equal", "masked"])
def test_hard_logits_give_the_plain_loss_and_gradients(divergence: TokenDivergence, case: str) -> None:
    # Hidden states are unit vectors, so that the head's weights are the logits themselves.
    g = torch.manual_seed(3)
    logits_NV = {
        "huge": 1e4 * torch.randn(6, V, generator=g, dtype=torch.float64),
        "one-hot": 1e3 * torch.eye(6, V, dtype=torch.float64),
        "equal": torch.zeros(6, V, dtype=torch.float64),
        "masked": torch.randn(6, V, generator=g, dtype=torch.float64),
    }[case]
    bias_V = torch.zeros(V, dtype=torch.float64)
    if case == "masked":
        bias_V[-3:] = -torch.inf  # padding of a vocabulary, ruled out for both
    heads = [Head(logits_NV.T.clone(), bias_V), Head((0.9 * logits_NV.roll(1, 0)).T.clone(), bias_V)]
    student, teacher = (Hidden(torch.eye(6, dtype=torch.float64), head) for head in heads)
    leaf = student.head.weight_VD.requires_grad_()
    weights_N = torch.rand(6, generator=g, dtype=torch.float64)
    plain = (weights_N * divergence(full_log_probs(student), full_log_probs(teacher).detach())).sum()
    tiled = Vocab(chunk=2, budget_mib=1, compile=False).compute_loss(student, teacher, weights_N, divergence)
    torch.testing.assert_close(tiled, plain)
    (got,), (want,) = torch.autograd.grad(tiled, [leaf]), torch.autograd.grad(plain, [leaf])
    assert got.isfinite().all()
    torch.testing.assert_close(got, want)


def test_gradients_by_finite_differences() -> None:
    w = world(n=3, v=6)
    leaves = [w.student.states_ND, w.student.head.weight_VD, w.student.head.bias_V]

    def loss(states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
        student = Hidden(states_ND, Head(weight_VD, bias_V))
        return engine(2).compute_loss(student, w.teacher, w.weights_N, GeneralisedJSD(beta=0.3))

    assert torch.autograd.gradcheck(loss, [leaf.requires_grad_() for leaf in leaves])


class WideProducts(TorchDispatchMode):
    """A device that multiplies narrow factors into an fp32 result, as a GPU does; notes the types of all factors."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket not in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            return func(*args, **(kwargs or {}))
        left, right = [arg for arg in args if isinstance(arg, Tensor)][-2:]
        self.dtypes |= {left.dtype, right.dtype}
        out = (kwargs or {}).get("out")
        if func is torch.ops.aten.mm.dtype_out:
            return torch.mm(left.float(), right.float(), out=out)
        if func is torch.ops.aten.addmm.dtype_out:
            return torch.addmm(args[0], left.float(), right.float(), out=out)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("source", ["autocast", "weights"])
@pytest.mark.parametrize("budget", [1, 512])
def test_narrow_factors_give_fp32_logits_on_every_device(
    source: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In mixed precision the weights are fp32; in fp32 products an accelerator would take many times as long.
    def run() -> list[Tensor]:
        w = world(n=200, v=3000, dtype=torch.float32 if source == "autocast" else torch.bfloat16)
        for leaf in (w.student.states_ND, w.student.head.weight_VD):
            leaf.requires_grad_()
        engine = Vocab(chunk="auto", budget_mib=budget, compile=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=source == "autocast"):
            scores = engine.compute_statistics(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL())
            loss = engine.compute_loss(w.student, w.teacher, w.weights_N.float(), ReverseKL())
        loss.backward()
        grads = [w.student.states_ND.grad, w.student.head.weight_VD.grad]
        assert [grad.dtype for grad in grads] == [w.student.states_ND.dtype] * 2
        for name, value_N in full_stats(replace_by_rounded(w), ReverseKL()).items():
            torch.testing.assert_close(scores.values[name].double(), value_N, rtol=1e-4, atol=1e-5, msg=name)
        return [*scores.values.values(), loss.detach(), *grads]

    here = run()
    monkeypatch.setattr("tipx.vocab.products.multiplies_into_fp32", lambda _device: True)
    with WideProducts() as device:
        there = run()
    # The reference of `run` multiplies in float64.
    assert device.dtypes - {torch.float64} == {torch.bfloat16}
    for one, other in zip(here, there, strict=True):
        # There the gradient at the logits is a narrow factor, too.
        assert (other.double() - one.double()).norm() <= 0.005 * one.double().norm()


class Allocated(TorchDispatchMode):
    """Counts the tensors that are made of one shape, and notes the products' shapes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.count, self.products = shape, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.count += name in ("empty_like", "zeros_like", "new_empty", "empty") and made.shape == self.shape
        self.products += name in ("mm", "addmm", "addmm_")
        return made


@pytest.mark.parametrize("budget", [1, 512])
@pytest.mark.parametrize("scored", [True, False])
def test_a_frozen_head_gets_no_gradient_and_costs_none(budget: int, scored: bool) -> None:
    w = world(n=200, v=3000, dtype=torch.float32, bias=False)
    engine = Vocab(chunk="auto", budget_mib=budget, compile=False)
    states, head = w.student.states_ND, w.student.head.weight_VD
    states.requires_grad_()
    seen, found = [], []
    for trained in (True, False):
        head.requires_grad_(trained)
        sums = engine.compute_statistics(w.student, w.teacher, w.tokens_N, STATISTICS, ReverseKL()).forward_sums
        with Allocated(tuple(head.shape)) as counted:
            loss = engine.compute_loss(w.student, w.teacher, w.weights_N, ReverseKL(), sums if scored else None)
            loss.backward()
        seen.append(counted)
        found.append(states.grad)
        assert (head.grad is not None) == trained
        states.grad = head.grad = None
    assert found[0] is not None
    assert torch.equal(found[0], found[1])
    assert (seen[0].count, seen[1].count) == (1, 0)
    assert seen[1].products < seen[0].products


def replace_by_rounded(w: World) -> World:
    """The factors as products take them, rounded to bfloat16."""
    student, teacher = (
        Hidden(hidden.states_ND.detach().bfloat16(), replace(hidden.head, weight_VD=hidden.head.weight_VD.bfloat16()))
        for hidden in (w.student, w.teacher)
    )
    return replace(w, student=student, teacher=teacher)


def test_narrow_states_and_weights_take_gradients_as_exact_as_they_are() -> None:
    # In float64, on the same rounded factors. A product rounded to bfloat16 would leave 4 % here.
    w = world(n=200, v=3000, dtype=torch.bfloat16, bias=False)
    exact = Hidden(w.student.states_ND.double(), Head(w.student.head.weight_VD.double()))
    teacher = Hidden(w.teacher.states_ND.double(), Head(w.teacher.head.weight_VD.double()))
    errors = []
    for leaves in ("states_ND", "weight_VD"):
        grads = []
        for student, other in ((w.student, w.teacher), (exact, teacher)):
            leaf = student.states_ND if leaves == "states_ND" else student.head.weight_VD
            leaf.requires_grad_()
            loss = engine("auto").compute_loss(student, other, torch.ones(200), ReverseKL())
            grads.append(torch.autograd.grad(loss, leaf)[0].double())
        errors.append(float((grads[0] - grads[1]).norm() / grads[1].norm()))
    assert max(errors) < 0.003, errors
