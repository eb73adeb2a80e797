"""The loss stage at the widths of real models: time, memory, launches, bytes and waits, beside full logits and peers.

All take turns in one process on the same factors in bfloat16, and the fastest round counts. A peer that is not
installed, or does not take these factors, is left out with a note.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import tipx.vocab
from bench import cases, peers
from bench.gpu_check.correctness import largest, vector_error
from bench.gpu_check.gauge import Call, Measured, count_launches, count_synchronisations, take_turns
from bench.gpu_check.results import Work
from bench.gpu_check.sections import first_line
from tipx.divergences import ReverseKL
from tipx.memory.costs import tensor_bytes
from tipx.vocab import Hidden, Vocab, heads, products
from tipx.vocab import loss as vocab_loss
from tipx.vocab.compiled import Runner
from tipx.vocab.vocab_pass import Tiles

RATIOS = (1.0, 0.5, 0.2, 0.1)
RULES = {"both": "soft_or, q3_only", "entropy": "entropy_top", "random": "random"}
"""What `bench.cases` calls a rule, and selectors that score so."""
FULL_LOGITS, ALL_TOKENS = "full logits", "tipx, full"
AGREEMENT = {ALL_TOKENS: 1e-2, "TRL": 5e-2, "Liger": 5e-2}
"""Bounds of a loss over all tokens against that of full logits, relative. Peers may round logits to bfloat16."""
GRADIENT_BOUND = 5e-3
"""Relative; each is rounded to bfloat16, which is 0.17 % of it."""
TOP = 12
"""Kernels that are listed."""


@dataclass(frozen=True)
class Sizes:
    """Tokens, vocabulary, hidden sizes, and the tiles that are tried: rows and MiB."""

    tokens: int
    vocab: int
    hidden: tuple[int, ...]
    rows: tuple[int, ...]
    tile_mib: tuple[int, ...]
    budget_mib: tuple[int, ...]
    rounds: int


FULL = Sizes(8_192, 151_936, (2560, 4096), (1024, 2048, 4096), (16, 32, 64, 128), (128, 2560), 3)
SMALL = Sizes(96, 16_384, (32,), (32, 64), (1, 4), (1, 32), 1)


def run(work: Work) -> None:
    """Each hidden size: ours beside others first, then one pass taken apart, then tiles."""
    sizes = SMALL if work.small else FULL
    torch.set_float32_matmul_precision("highest")
    for hidden in sizes.hidden:
        if not work.has_time(20, f"D = {hidden:,}"):
            break
        work.say(f"D = {hidden:,}: ours beside others")
        student, teacher = cases.inputs(sizes.tokens, sizes.vocab, hidden, work.device, torch.bfloat16)
        compare_implementations(work, sizes, student, teacher)
        check_gradients(work, sizes, student, teacher)
        work.say(f"D = {hidden:,}: launches, bytes, waits")
        take_apart(work, sizes, student, teacher)
        if work.has_time(15, f"tiles at D = {hidden:,}"):
            work.say(f"D = {hidden:,}: tiles")
            try_tiles(work, sizes, student, teacher)
        del student, teacher


def step_call(step: cases.Step, student: Hidden, teacher: Hidden, kept: int) -> Callable[[], Tensor]:
    """A loss with its backward pass, whose gradients are dropped: they are part of the peak, and of no other's."""

    def call() -> Tensor:
        loss = step(student, teacher, kept)
        student.states_ND.grad = student.head.weight_VD.grad = None
        return loss

    return call


def take_gradients(step: cases.Step, student: Hidden, teacher: Hidden) -> list[Tensor]:
    """Those of a loss over all tokens, at hidden states and head."""
    leaves = student.states_ND, student.head.weight_VD
    step(student, teacher, len(student))
    gradients = [leaf.grad.float() for leaf in leaves if leaf.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    return gradients


def list_steps(tokens: int) -> dict[tuple[str, float], cases.Step]:
    """Every implementation at each ratio at which it is measured."""
    kl = ReverseKL()
    steps: dict[tuple[str, float], cases.Step] = {(ALL_TOKENS, 1.0): partial(cases.tipx, "", kl)}
    for (rule, names), ratio in product(RULES.items(), RATIOS[1:]):
        if round(tokens * ratio):
            steps[f"tipx, {names}", ratio] = partial(cases.tipx, rule, kl)
    steps |= {(FULL_LOGITS, ratio): cases.full for ratio in RATIOS}
    if peers.installed("trl"):
        steps["TRL", 1.0] = partial(peers.trl_tiled, 1.0, None)
    if peers.installed("liger_kernel"):
        steps["Liger", 1.0] = partial(peers.liger, 1.0, 1024)
    return steps


def compare_implementations(work: Work, sizes: Sizes, student: Hidden, teacher: Hidden) -> None:
    """Seconds and memory of each, and whether losses over all tokens agree."""
    hidden = student.states_ND.shape[1]
    losses, calls = dict[tuple[str, float], float](), dict[str, Call]()
    keys = dict[str, tuple[str, float]]()
    for key, step in list_steps(sizes.tokens).items():
        call = step_call(step, student, teacher, max(1, round(sizes.tokens * key[1])))
        try:
            losses[key] = call().item()
        except torch.OutOfMemoryError:
            if key[0] == ALL_TOKENS:
                raise
            work.note(f"{key[0]}, ratio {key[1]:g}, D = {hidden:,}: does not fit into the device's memory")
            continue
        except Exception as error:  # a peer's own failure is not ours
            if key[0].startswith("tipx"):
                raise
            work.note(f"{key[0]}, D = {hidden:,}: left out, for it failed ({first_line(error)})")
            continue
        keys[f"{key[0]} {key[1]:g}"], calls[f"{key[0]} {key[1]:g}"] = key, call
    for package in ("trl", "liger_kernel"):
        if not peers.installed(package) and hidden == sizes.hidden[0]:
            work.note(f"{package}: {peers.NOT_INSTALLED}")
    measured = take_turns(calls, work.device, sizes.rounds, lambda: work.left > 10)
    times = {keys[name]: result for name, result in measured.items() if result is not None}
    for key, result in times.items():
        add_row(work, sizes, hidden, key, result, times)
    check_losses(work, losses, hidden)


def add_row(
    work: Work,
    sizes: Sizes,
    hidden: int,
    key: tuple[str, float],
    result: Measured,
    times: dict[tuple[str, float], Measured],
) -> None:
    """Seconds as ratios to the other ways over all tokens."""
    ratios = {
        f"/ {name}": result.least / times[name, 1.0].least
        for name in (ALL_TOKENS, FULL_LOGITS, "TRL", "Liger")
        if (name, 1.0) in times
    }
    work.row(
        f"Loss: {sizes.tokens:,} tokens, V = {sizes.vocab:,}, D = {hidden:,}",
        implementation=key[0],
        ratio=key[1],
        s=result.least,
        **ratios,
        MiB=result.mib,
    )


def check_losses(work: Work, losses: dict[tuple[str, float], float], hidden: int) -> None:
    """Over all tokens they are the same. Full logits may not fit: then the first that is there is the measure."""
    right = losses.get((FULL_LOGITS, 1.0), losses[ALL_TOKENS, 1.0])
    for name, bound in AGREEMENT.items():
        if (name, 1.0) in losses:
            work.check(f"loss of {name}, D = {hidden:,}, relative error", abs(losses[name, 1.0] / right - 1), bound)


def check_gradients(work: Work, sizes: Sizes, student: Hidden, teacher: Hidden) -> None:
    """At these sizes, where an index may be too large for a kernel: against plain torch in small tiles."""
    plain = Vocab(chunk=sizes.rows[0], budget_mib=sizes.tile_mib[0], compile=False)
    right = take_gradients(partial(cases.tipx, "", ReverseKL(), engine=plain), student, teacher)
    gradients = take_gradients(list_steps(sizes.tokens)[ALL_TOKENS, 1.0], student, teacher)
    error = largest([vector_error(*pair) for pair in zip(gradients, right, strict=True)])
    name = f"gradient of {ALL_TOKENS}, D = {student.states_ND.shape[1]:,}, against plain torch in other tiles"
    work.check(name, error, GRADIENT_BOUND)


@dataclass
class Moved:
    """Multiplications of products, and bytes that products and kernels take and give."""

    multiplications: int = 0
    product_bytes: int = 0
    kernel_bytes: int = 0
    kernel_calls: int = 0

    def count_product(self, make_product: Callable[..., None]) -> Callable[..., None]:
        """The function, counted: it is called with both factors and the result. A sum is written, and read before."""
        added = make_product is products.add_product

        def count(left: Tensor, right: Tensor, out: Tensor) -> None:
            self.multiplications += left.numel() * right.shape[-1]
            self.product_bytes += tensor_bytes(left) + tensor_bytes(right) + (1 + added) * tensor_bytes(out)
            make_product(left, right, out)

        return count

    def count_kernel(self, run_tile: Runner) -> Runner:
        """The runner, counted: each tensor that goes in is read once, and each that comes out is written once."""

        def run_counted(function: Callable[..., object], *given: object) -> object:
            out = run_tile(function, *given)
            self.kernel_bytes += sum(tensor_bytes(x) for x in tree_leaves((given, out)) if isinstance(x, Tensor))
            self.kernel_calls += 1
            return out

        return run_counted


@contextmanager
def count_moved() -> Iterator[Moved]:
    """What the engine's products and kernels move inside. Nothing else of it touches a whole tile."""
    moved, split_tiles = Moved(), Vocab.split_tiles

    def split_counted(self: Vocab, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        tiles = split_tiles(self, rows, size, device, keep=keep)
        return replace(tiles, run=moved.count_kernel(tiles.run))

    with (
        patch.object(Vocab, "split_tiles", split_counted),
        patch.object(heads, "multiply", moved.count_product(products.multiply)),
        patch.object(vocab_loss, "multiply", moved.count_product(products.multiply)),
        patch.object(vocab_loss, "add_product", moved.count_product(products.add_product)),
    ):
        yield moved


def take_apart(work: Work, sizes: Sizes, student: Hidden, teacher: Hidden) -> None:
    """One pass of each way that tipx takes: head products, bytes, launches, waits."""
    hidden = student.states_ND.shape[1]
    unit = sizes.tokens * sizes.vocab
    for key, step in list_steps(sizes.tokens).items():
        if not key[0].startswith("tipx") or key[1] not in (1.0, 0.2):
            continue
        kept = max(1, round(sizes.tokens * key[1]))
        call = step_call(step, student, teacher, kept)
        with count_moved() as moved:
            call()
        launches = count_launches(call, work.device)
        waits = count_synchronisations(call, work.device)
        if not launches.total:
            work.note("torch.profiler saw no kernel: CUPTI is missing, or needs the right to count")
        work.row(
            f"One pass taken apart, D = {hidden:,}",
            implementation=key[0],
            ratio=key[1],
            head_products=moved.multiplications / (unit * hidden),
            product_bytes_a_logit=moved.product_bytes / unit,
            kernel_bytes_a_logit=moved.kernel_bytes / unit,
            kernel_calls=moved.kernel_calls,
            launches=launches.total,
            waits="not available" if waits is None else waits,
        )
        for name, seconds in launches.seconds.most_common(TOP):
            work.row(
                f"What took longest, D = {hidden:,}: {key[0]}, ratio {key[1]:g}",
                name=name[:90],
                launches=launches.counts[name],
                s=seconds,
            )


def try_tiles(work: Work, sizes: Sizes, student: Hidden, teacher: Hidden) -> None:
    """The loss over all tokens by rows, MiB of a tile and the memory for logits, the fastest first."""
    title = f"Tiles, D = {student.states_ND.shape[1]:,}: all tokens"
    calls: dict[str, Call] = {"auto": step_call(list_steps(1)[ALL_TOKENS, 1.0], student, teacher, sizes.tokens)}
    named = dict[str, tuple[int, int, int]]()
    for tile in product(sizes.rows, sizes.tile_mib, sizes.budget_mib):
        if tile[2] >= tile[1]:  # a smaller budget makes the tiles smaller
            named["{} {} {}".format(*tile)] = tile
    for name, (height, tile_mib, budget_mib) in named.items():
        engine = Vocab(chunk=height, budget_mib=budget_mib, compile="auto")
        step = partial(cases.tipx, "", ReverseKL(), engine=engine)
        calls[name] = with_tiles(step_call(step, student, teacher, sizes.tokens), tile_mib, work.device)
    results = take_turns(calls, work.device, 1 if work.small else 2, lambda: work.left > 5)
    auto = results["auto"]
    for name, result in sorted(results.items(), key=lambda item: item[1].least if item[1] else 0.0):
        if result is None or auto is None:
            continue
        rows, mib, budget = map(str, named.get(name, ("auto", "auto", "auto")))
        work.row(
            title,
            rows=rows,
            tile_MiB=mib,
            budget_MiB=budget,
            s=result.least,
            to_auto=result.least / auto.least,
            MiB=result.mib,
        )


def with_tiles(call: Call, mib: int, device: torch.device) -> Call:
    """The call, with tiles of so many MiB."""

    def tiled() -> object:
        there = {} if device.type == "cpu" else {device.type: mib}
        sizes = {"cpu": mib} | there
        with patch.object(tipx.vocab, "TILE_MIB", sizes):
            return call()

    return tiled
