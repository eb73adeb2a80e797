"""The next batch, sampled by a server while the student trains on this one: `rollout.ahead=1`.

    step t:  take batch t  ->  push the weights, begin batch t + 1  ->  score, select, train on batch t

So batch t + 1 is of the weights before the update of step t, and is trained on after it: each batch is one update old,
however long a server takes. The first batch of a run is sampled when it is needed.

A thread asks the server, and waits for its answers. The main thread pushes the weights and holds the engine until the
batch is there, so nothing else can give it other weights meanwhile. Of the model the thread reads what no update
changes: token ids that end a response, the size of the vocabulary, the device. Draws are a function of (seed, step,
row). So a batch does not depend on when it is sampled.

A checkpoint keeps the batch that was sampled ahead, for the weights that sampled it are gone when the run goes on.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from tipx.agents.loop import AgentRollouts
from tipx.files.atomic import damaged, read_lines, write_text
from tipx.rollout.collect import from_lists
from tipx.rollout.vllm import VLLMRollouts
from tipx.types import Rollout, StopReason, response_ends

NEXT_BATCH = "next_batch.jsonl"
"""The file of a checkpoint with the batch of the next step, one response a line."""


@dataclass(frozen=True)
class Batch:
    """This process's responses of a step.

    `staleness` is the number of updates since the weights that sampled them, `seconds` what sampling took; it is None
    for a batch that a checkpoint kept.
    """

    rollout: Rollout
    staleness: int
    seconds: float | None


class Ahead:
    """Samples one batch ahead. `hold` makes a context in which the engine has the weights of its beginning."""

    def __init__(self, hold: Callable[[], AbstractContextManager[object]], sample: Callable[[int], Rollout]) -> None:
        self.hold, self.sample = hold, sample
        self.thread = ThreadPoolExecutor(1, "ahead")
        self.holding = ExitStack()
        self.sampling: Future[Batch] | None = None
        self.batch: Batch | None = None

    def begin(self, step: int) -> None:
        """Samples the batch of a step with the weights of now, in the background."""
        self.holding.enter_context(self.hold())
        self.sampling = self.thread.submit(self._sample, step, 1)

    def wait(self) -> None:
        """Until the batch is there that was begun, if one was, and the engine is free. Raises what sampling raised."""
        if self.sampling is not None:
            sampling, self.sampling = self.sampling, None
            self.batch = sampling.result()
            self.holding.close()

    def take(self, step: int) -> Batch:
        """The batch of a step: the one that was begun, or one of the weights of now."""
        self.wait()
        batch, self.batch = self.batch, None
        return self._sample(step, 0) if batch is None else batch

    @contextmanager
    def closing(self) -> Iterator[None]:
        """At the end of the block no thread is left, and the engine is free."""
        try:
            yield
        finally:
            self.thread.shutdown()
            self.holding.close()

    def _sample(self, step: int, staleness: int) -> Batch:
        start = time.perf_counter()
        rollout = self.sample(step)
        return Batch(rollout, staleness, time.perf_counter() - start)

    # --- in a checkpoint ---------------------------------------------------------------------------------------------

    def rows(self) -> list["SampledRow"]:
        """This process's part of the batch that was begun, when it is there; [] if none was."""
        self.wait()
        return [] if self.batch is None else to_rows(self.batch.rollout)

    def load(
        self, folder: Path, count: int, rows: Sequence[int], prompts: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        """This process's part of the batch in a checkpoint, of `count` responses to these prompts; raises Damaged."""
        step = read_batch(folder, count)
        self.batch = Batch(to_rollout([step[row] for row in rows], prompts, device), 1, None)


def find_engine_ahead(how: object) -> VLLMRollouts | None:
    """The server that a run samples ahead by; None if it does not."""
    backend = how.backend if isinstance(how, AgentRollouts) else how
    return backend if isinstance(backend, VLLMRollouts) and backend.ahead else None


@dataclass(frozen=True)
class SampledRow:
    """A response up to its last sampled token; `valid`, `logprobs` and `numbers` as in `Rollout`."""

    tokens: list[int]
    valid: list[bool]
    stop: StopReason
    logprobs: list[float] | None
    numbers: dict[str, float]


ROWS = TypeAdapter(list[SampledRow])


def to_rows(rollout: Rollout) -> list[SampledRow]:
    """As they are written. What stands after the last sampled token is padding."""
    logprobs = None if rollout.logprobs_N is None else rollout.logprobs_N.split(rollout.lengths)
    return [
        SampledRow(
            rollout.response_BT[b, :end].tolist(),
            rollout.valid_BT[b, :end].tolist(),
            rollout.stop_reasons[b],
            None if logprobs is None else logprobs[b].tolist(),
            dict(rollout.numbers[b]) if rollout.numbers else {},
        )
        for b, end in enumerate(response_ends(rollout.valid_BT))
    ]


def to_rollout(rows: Sequence[SampledRow], prompts: Sequence[Sequence[int]], device: torch.device) -> Rollout:
    """What `to_rows` was given."""
    tokens, stops, valid = [row.tokens for row in rows], [row.stop for row in rows], [row.valid for row in rows]
    made = from_lists(prompts, tokens, stops, device, valid)
    logprobs = [value for row in rows for value in row.logprobs or []]
    return Rollout(
        made.prompt_ids,
        made.response_BT,
        made.valid_BT,
        made.stop_reasons,
        logprobs_N=torch.tensor(logprobs, device=device) if any(row.logprobs is not None for row in rows) else None,
        numbers=tuple(row.numbers for row in rows) if any(row.numbers for row in rows) else (),
    )


def write_batch(folder: Path, rows: Sequence[SampledRow]) -> None:
    """Into a checkpoint."""
    write_text(folder / NEXT_BATCH, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def read_batch(folder: Path, count: int) -> list[SampledRow]:
    """From a checkpoint; raises Damaged for a file that is missing or does not hold `count` responses."""
    file = folder / NEXT_BATCH
    remedy = f"remove {folder} to go on from the checkpoint before it, or train again with --fresh"
    lines = read_lines(file, remedy)
    try:
        rows = ROWS.validate_python(lines)
    except ValidationError as error:
        number, key = (*error.errors()[0]["loc"], "")[:2]
        raise damaged(file, f"line {int(number) + 1} has no {key} that is as tipx wrote it", remedy) from error
    for number, row in enumerate(rows, 1):
        if len(row.valid) != len(row.tokens) or len(row.logprobs or []) not in (0, sum(row.valid)):
            raise damaged(file, f"the lists in line {number} are of different lengths", remedy)
    if len(rows) != count:
        raise damaged(file, f"it has {len(rows)} responses of {count}", remedy)
    return rows
