"""The prediction (fake tensors, 2 and 4 layers) against what the allocator held (real tensors, 6 layers): 10 %."""

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState

from tests.memory.measured import Shape, materialised_step, pair_of, peaks, tiled_step
from tests.memory.worlds import Small
from tipx.memory.predict import PHASES

pytestmark = pytest.mark.long(35)

TOLERANCE = 0.1

CASES = {
    "qwen3": Small(sequences=2),
    "qwen3, bf16, one micro-batch, every token": Small(sequences=1, micro=1, tokens=40, ratio=1.0, precision="bf16"),
    "qwen3, checkpointing, bf16": Small(tied=False, sequences=2, ratio=0.1, precision="bf16", checkpointing=True),
    "qwen3, all logits": Small(how="materialise", tokens=96),
    "qwen3, all logits, bf16, every token": Small(how="materialise", tokens=96, ratio=1.0, precision="bf16"),
    "llama, 5 layers, checkpointing": Small(kind="llama", layers=5, tied=False, ratio=0.2, checkpointing=True),
    "llama, all logits, checkpointing, bf16": Small(
        kind="llama", how="materialise", tokens=96, ratio=0.2, precision="bf16", checkpointing=True
    ),
    "qwen2, bf16": Small(kind="qwen2", precision="bf16", sequences=2, micro=1),
    "qwen2, all logits, 7 layers": Small(kind="qwen2", layers=7, how="materialise", tied=False, tokens=96, ratio=0.2),
}


@pytest.fixture(autouse=True)
def _precision_may_differ_between_tests() -> Iterator[None]:
    """Accelerate keeps its precision for the life of the process, which is one run's elsewhere."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def predicted(small: Small, processes: int = 1) -> dict[str, int]:
    """Bytes at the peak of each phase that a measurement can tell apart: scoring runs both models in turn."""
    case = small.case(processes=processes)
    held = {name: sum(case.laid_out(name, parts).values()) for name, parts in case.whole().items()}
    teacher = {"score": ("teacher", "score"), "train": ("train",)}
    if small.how == "materialise":  # the teacher's logits are made as part of training
        teacher = {"train": ("teacher", "train")}
    names = {"rollout": ("rollout",), "optimizer": ("optimizer",)} | teacher
    sections = {name: [s for phase in phases for s in PHASES[phase]] for name, phases in names.items()}
    return {name: max(held[s] for s in those if s in held) for name, those in sections.items()}


@pytest.mark.parametrize("name", CASES)
def test_peaks_are_as_measured(name: str) -> None:
    small = CASES[name]

    def prepare() -> object:
        pair = pair_of(small.exp, small.teacher, small.student)
        rollout = Shape(small.sequences, small.prompt, small.tokens, ragged=small.micro > 1).rollout()
        made = tiled_step if small.how == "tiled" else materialised_step
        return made(small.exp, pair, rollout)

    expected, found = predicted(small), peaks(prepare)  # type: ignore[arg-type]
    assert found.keys() == expected.keys() - ({"rollout"} if small.how == "materialise" else set())
    off = {phase: round(expected[phase] / found[phase] - 1, 4) for phase in found}
    assert all(abs(share) <= TOLERANCE for share in off.values()), off
