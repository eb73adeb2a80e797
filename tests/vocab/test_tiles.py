"""Tiles in both axes: every size gives the same numbers, and nothing of (tokens x vocabulary) is made or kept."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

import tipx.vocab
from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, TopKDivergence
from tipx.types import STATISTICS
from tipx.vocab import Head, Hidden, Vocab
from tipx.vocab.compiled import run_compiled, run_plain
from tipx.vocab.vocab_pass import Tiles

V, D = 13, 5
KINDS: dict[str, TokenDivergence] = {
    "rkl": ReverseKL(),
    "fkl": ForwardKL(),
    "jsd": GeneralisedJSD(beta=0.3),
    "teacher's 4, tail": TopKDivergence(base=ReverseKL(), k=4, support="teacher", tail=True),
    "student's 4": TopKDivergence(base=ReverseKL(), k=4, support="student", tail=False),
    "3 of each, tail": TopKDivergence(base=ForwardKL(), k=3, support="union", tail=True),
    "3 of each": TopKDivergence(base=GeneralisedJSD(beta=0.3), k=3, support="union", tail=False),
    "all of them": TopKDivergence(base=ReverseKL(), k=13, support="teacher", tail=True),
}
DIVERGENCES = pytest.mark.parametrize("divergence", KINDS.values(), ids=KINDS.keys())
KEEPS = pytest.mark.parametrize("keeps", [True, False], ids=["logits once", "logits twice"])
FREE = {"student_entropy", "teacher_entropy", "reverse_kl", "forward_kl", "loss"}
# Rows x columns of a tile, for 7 tokens of 13 entries.
SIZES = pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 4), (7, 5), (2, 12), (7, 1), (100, 100)])


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Vocab]:
    """An engine with tiles of exactly so many rows and columns, narrower than its smallest budget makes them."""

    def of(rows: int, columns: int, *, keeps: bool = False) -> Vocab:
        def split_tiles(_self: Vocab, n: int, size: int, _device: torch.device, *, keep: bool) -> Tiles:
            slices = tipx.vocab.split_slices(n, rows), tipx.vocab.split_slices(size, columns)
            return Tiles(*slices, keeps=keep and keeps, run=run_plain)

        monkeypatch.setattr(Vocab, "split_tiles", split_tiles)
        return Vocab(chunk=1, budget_mib=1, compile=False)

    return of


def draw(seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.manual_seed(seed), dtype=torch.float64)


def pair(n: int = 7, v: int = V) -> tuple[Hidden, Hidden]:
    """Student and teacher; the student's head has a bias."""
    return Hidden(draw(1, n, D), Head(draw(2, v, D), draw(3, v))), Hidden(draw(4, n, D), Head(draw(5, v, D)))


def from_logits(student_NV: Tensor, teacher_NV: Tensor) -> tuple[Hidden, Hidden]:
    """Hidden states are unit vectors, so that the head's columns are the logits of each token; -inf is in the bias."""
    out = []
    for logits_NV in (student_NV, teacher_NV):
        masked_V = (logits_NV == -torch.inf).all(0)
        bias_V = torch.zeros(logits_NV.shape[1], dtype=torch.float64).masked_fill(masked_V, -torch.inf)
        head = Head(logits_NV.masked_fill(masked_V, 0.0).T.clone(), bias_V)
        out.append(Hidden(torch.eye(len(logits_NV), dtype=torch.float64), head))
    return out[0], out[1]


def log_probs(hidden: Hidden) -> Tensor:
    head = hidden.head
    logits_NV = hidden.states_ND @ head.weight_VD.T
    return (logits_NV if head.bias_V is None else logits_NV + head.bias_V).log_softmax(-1)


def hard_cases() -> dict[str, tuple[Tensor, Tensor]]:
    """Logits whose running maxima move from tile to tile, or that are ruled out for both models in whole tiles."""
    rising = torch.linspace(-1e4, 1e4, V, dtype=torch.float64).expand(4, V) + draw(6, 4, V)
    first, last = draw(7, 4, V), draw(8, 4, V)
    first[:, :5], last[:, -5:] = -torch.inf, -torch.inf
    one_sided = draw(9, 4, V)
    one_sided[:, :5] = -torch.inf
    return {
        "both rise": (rising, rising + draw(10, 4, V)),
        "they cross": (rising, -rising),
        "both fall": (-rising, -rising + draw(11, 4, V)),
        "first tile masked": (first, first + draw(12, 4, V)),
        "last tile masked": (last, last + draw(13, 4, V)),
        "one hot": (1e3 * torch.eye(4, V, dtype=torch.float64), 1e3 * torch.eye(4, V, dtype=torch.float64).flip(1)),
        "masked for the student": (one_sided, draw(14, 4, V)),
        "masked for the teacher": (draw(14, 4, V), one_sided),
    }


@DIVERGENCES
@SIZES
@KEEPS
def test_every_tiling_gives_the_same(
    rows: int, columns: int, divergence: TokenDivergence, tiled: Callable[..., Vocab], *, keeps: bool
) -> None:
    (student, teacher), tokens_N = pair(), torch.arange(7)
    engine, weights_N = tiled(rows, columns, keeps=keeps), torch.linspace(0.1, 2.0, 7, dtype=torch.float64)
    s_NV, t_NV = log_probs(student), log_probs(teacher)
    expected = {
        "student_entropy": -(s_NV.exp() * s_NV).sum(-1),
        "teacher_entropy": -(t_NV.exp() * t_NV).sum(-1),
        "reverse_kl": ReverseKL()(s_NV, t_NV),
        "forward_kl": ForwardKL()(s_NV, t_NV),
        "jsd": GeneralisedJSD(beta=0.5)(s_NV, t_NV),
        "student_logprob": s_NV[tokens_N, tokens_N],
        "teacher_logprob": t_NV[tokens_N, tokens_N],
        "loss": divergence(s_NV, t_NV),
    }
    scores = engine.compute_statistics(student, teacher, tokens_N, STATISTICS, divergence)
    for name, value_N in scores.values.items():
        torch.testing.assert_close(value_N, expected[name], rtol=1e-10, atol=1e-12, msg=name)

    leaves = [student.states_ND, student.head.weight_VD, student.head.bias_V]
    for leaf in leaves:
        leaf.requires_grad_()
    plain = (weights_N * divergence(log_probs(student), t_NV)).sum()
    wanted = torch.autograd.grad(plain, leaves)
    for sums in (None, scores.forward_sums):  # from scratch, and from what scoring left
        loss, known = engine.compute_loss_and_statistics(student, teacher, weights_N, divergence, sums)
        torch.testing.assert_close(loss, plain, rtol=1e-12, atol=0)
        assert known.keys() == ({"loss"} if sums else FREE)
        for name, value_N in known.items():
            torch.testing.assert_close(value_N, expected[name], rtol=1e-10, atol=1e-12, msg=name)
        for got, want in zip(torch.autograd.grad(loss, leaves), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@DIVERGENCES
@pytest.mark.parametrize("case", hard_cases())
@pytest.mark.parametrize("columns", [1, 4, 5, V])
@KEEPS
def test_hard_logits_in_every_tiling(
    columns: int, case: str, divergence: TokenDivergence, tiled: Callable[..., Vocab], *, keeps: bool
) -> None:
    if case == "one hot" and isinstance(divergence, TopKDivergence):
        return  # which of twelve equal entries is among the likeliest is anyone's guess
    (student, teacher), engine = from_logits(*hard_cases()[case]), tiled(3, columns, keeps=keeps)
    leaf_VD = student.head.weight_VD.requires_grad_()
    weights_N = torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
    plain = (weights_N * divergence(log_probs(student), log_probs(teacher))).sum()
    loss = engine.compute_loss(student, teacher, weights_N, divergence)
    if plain.isinf():
        assert case.startswith("masked for the")
        assert loss > 1e20
        return
    torch.testing.assert_close(loss, plain)
    (got_VD,), (want_VD,) = torch.autograd.grad(loss, [leaf_VD]), torch.autograd.grad(plain, [leaf_VD])
    assert got_VD.isfinite().all()
    torch.testing.assert_close(got_VD, want_VD)
    names = frozenset({"student_entropy", "teacher_entropy", "loss", "jsd"})
    for name, value_N in engine.compute_statistics(
        student, teacher, torch.full((4,), 6), names, divergence
    ).values.items():
        assert value_N.isfinite().all(), name
        assert (value_N >= -1e-9).all(), name


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives, backward included."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else [out]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@DIVERGENCES
@pytest.mark.parametrize(("rows", "columns"), [(4, 97), (6, 97), (64, 3), (16, 40)])
def test_no_tensor_of_tokens_by_vocabulary(
    rows: int, columns: int, divergence: TokenDivergence, tiled: Callable[[int, int], Vocab]
) -> None:
    # 64 x 97 would be 6208. Allowed: a tile, the head and its gradient (97 x 5 = 485), hidden states (64 x 5 = 320);
    # for a support of U entries, as many columns more, and their ids for each token.
    support = (1 + (divergence.support == "union")) * divergence.k if isinstance(divergence, TopKDivergence) else 0
    allowed = max(rows * (columns + support), 97 * D, 64 * support)
    (student, teacher), engine = pair(64, 97), tiled(rows, columns)
    for leaf in (student.states_ND, student.head.weight_VD):
        leaf.requires_grad_()
    with Largest() as seen:
        engine.compute_statistics(student, teacher, torch.arange(64), STATISTICS, divergence)
    assert seen.numel <= allowed
    with Largest() as seen:
        engine.compute_loss(student, teacher, torch.ones(64, dtype=torch.float64), divergence).backward()
    assert max(rows * columns, 97 * D) <= seen.numel <= allowed


@DIVERGENCES
def test_tiles_are_not_kept_for_the_backward_pass(divergence: TokenDivergence) -> None:
    # Without recomputation the log-probabilities of all tiles, 64 x 97 and more, would stay alive until then.
    student, teacher = pair(64, 97)
    student.states_ND.requires_grad_()
    kept: list[int] = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        loss = Vocab(chunk=4, budget_mib=1, compile=False).compute_loss(
            student, teacher, torch.ones(64, dtype=torch.float64), divergence
        )
    assert 0 < sum(kept) <= 64 * D + 97 * D + 97  # hidden states and head
    loss.backward()
    assert student.states_ND.grad is not None


def test_tiles_fill_their_cache_and_the_budget() -> None:
    # 1 MiB / (4 bytes * 6 tensors * 100 rows) = 436.9 columns; at least one, however many the rows.
    cpu = torch.device("cpu")
    tiles = Vocab(chunk=100, budget_mib=1, compile=False).split_tiles(250, 1000, cpu, keep=False)
    assert tiles.rows == [slice(0, 100), slice(100, 200), slice(200, 250)]
    assert tiles.columns == [slice(0, 436), slice(436, 872), slice(872, 1000)]
    assert not tiles.keeps
    many = Vocab(chunk=10**6, budget_mib=1, compile=False).split_tiles(10**6, 3, cpu, keep=False)
    assert len(many.columns) == 3
    plain = Vocab(chunk="auto", budget_mib=8, compile=False).split_tiles(1000, 10**5, cpu, keep=True)
    assert (plain.rows[0].stop, plain.columns[0].stop, plain.keeps) == (256, 682, False)  # 4 MiB / (4 * 6 * 256)
    assert Vocab(chunk=5, budget_mib=1, compile=False).split_tiles(0, 1000, cpu, keep=False).rows == []


def test_compiled_tiles_have_whole_blocks_and_one_shape() -> None:
    # 4 MiB / (4 bytes * 2 tensors * 256 rows) = 2048 columns; the last tile goes beyond the vocabulary.
    tiles = Vocab(chunk="auto", budget_mib=8, compile="auto").split_tiles(1000, 151_936, torch.device("cpu"), keep=True)
    assert tiles.run is run_compiled
    assert {part.stop - part.start for part in tiles.columns} == {2048}
    assert len(tiles.columns) == 75
    small = Vocab(chunk="auto", budget_mib=8, compile="auto").split_tiles(1000, 16_383, torch.device("cpu"), keep=True)
    assert small.run is run_plain


def test_logits_are_kept_where_the_budget_holds_64_rows() -> None:
    # 64 rows of both models' logits over 100,000 entries are 48.8 MiB.
    def split(mib: int) -> Tiles:
        engine = Vocab(chunk="auto", budget_mib=mib, compile=False)
        return engine.split_tiles(1000, 10**5, torch.device("cpu"), keep=True)

    assert not split(48).keeps
    assert split(49).keeps
    assert split(49).rows[0] == slice(0, 64)
    assert split(500).rows[0] == slice(0, 256)


def test_auto_takes_a_small_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, budgets = Vocab(chunk="auto", budget_mib="auto", compile=False), []
    for gib in (1, 4, 8, 1024):
        monkeypatch.setattr("tipx.vocab.find_memory", lambda _device, gib=gib: gib * 2**30)
        budgets.append([engine.find_budget(torch.device(kind)) for kind in ("cpu", "cuda")])
    assert budgets == [[32, 32], [128, 128], [256, 256], [320, 2560]]


@SIZES
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_likeliest_tokens_are_those_of_the_whole_distribution(
    rows: int, columns: int, k: int, tiled: Callable[[int, int], Vocab]
) -> None:
    for hidden in pair():
        ids_Nk, probs_Nk = tiled(rows, columns).find_top_tokens(hidden, k)
        whole = hidden.log_probs().exp().topk(min(k, V))
        assert ids_Nk.tolist() == whole.indices.tolist()
        torch.testing.assert_close(probs_Nk, whole.values.float())
    nothing = tiled(rows, columns).find_top_tokens(pair()[0][:0], k)
    assert [len(part) for part in nothing] == [0, 0]
