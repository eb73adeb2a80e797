"""Bytes counted by hand."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tipx.memory.materialise import chunked_loss, divergences, full_logits, rows_of
from tipx.memory.tracker import Tracker
from tipx.vocab import Head, Hidden

KB = 1024 // 4  # fp32 numbers of a KiB
MIB = 2**20


def test_sections_keep_their_highest_moment_by_part() -> None:
    with FakeTensorMode(), Tracker() as tracker:
        tracker.begin("first", "weights")
        weight = torch.empty(8 * KB)
        tracker.begin("second", "activations")
        gone = torch.empty(4 * KB)
        gone = torch.empty(2 * KB)  # the old one dies once the new one is there: 8 + 4 + 2
        view = weight.view(2, -1)[0]  # no memory of its own
        tracker.begin("third", "activations")
        tracker.tag([gone, view], "kept")
    assert tracker.peaks["first"] == {"weights": 8 * 1024}
    assert tracker.peaks["second"] == {"weights": 8 * 1024, "activations": 6 * 1024}
    assert sum(tracker.peaks["third"].values()) == 10 * 1024
    assert {part: n for part, n in tracker.live.items() if n} == {"kept": 10 * 1024}


def test_autograd_and_autocast_hold_what_they_hold() -> None:
    with FakeTensorMode(), Tracker() as tracker:
        tracker.begin("setup", "student")
        weight = torch.empty(512, 512, requires_grad=True)  # 1 MiB
        tracker.begin("input", "other")
        x = torch.empty(512, 512)
        tracker.begin("forward", "activations")
        with torch.autocast("cpu", torch.bfloat16):
            y = torch.nn.functional.linear(x, weight)
            # Half a MiB each: the weight's copy, which autocast keeps; x's, for the backward pass; and y.
            assert (tracker.live["student"], tracker.live["activations"]) == (1.5 * MIB, MIB)
        assert (tracker.live["student"], tracker.live["activations"]) == (MIB, MIB)
        del y
        assert tracker.live["activations"] == 0


def test_two_gradients_of_the_vocabulary_are_summed_in_place() -> None:
    with FakeTensorMode(), Tracker() as tracker:
        tracker.begin("backward", "vocabulary")
        first, second = torch.empty(KB), torch.empty(KB)
        with torch.no_grad():
            total = first + second
        assert tracker.live["vocabulary"] == 2 * 1024
        del first, second
        assert tracker.live["vocabulary"] == 1024
        del total
    assert not any(tracker.live.values())


# MiB of resident memory that the paper's public code, with its selector put after the logits, was measured to take for
# loss and backward: V = 151,936, D = 64, fp32, chunks of 64 rows.
@pytest.mark.parametrize(
    ("tokens", "ratio", "measured"),
    [(1024, 1, 3087), (1024, 0.5, 1792), (1024, 0.1, 1492), (2048, 1, 6055), (2048, 0.5, 3572), (2048, 0.1, 2679)],
)
def test_materialising_takes_what_the_papers_code_takes(tokens: int, ratio: float, measured: float) -> None:
    with FakeTensorMode(), Tracker() as tracker:
        states = [torch.empty(tokens, 64, requires_grad=grad) for grad in (True, False)]
        heads = [Head(torch.empty(151936, 64, requires_grad=grad)) for grad in (True, False)]
        tracker.begin("loss", "vocabulary")
        before = sum(tracker.live.values())
        student_NV, teacher_NV = (full_logits(Hidden(s, h)) for s, h in zip(states, heads, strict=True))
        divergences(student_NV, teacher_NV)
        index_K = torch.zeros(int(ratio * tokens), dtype=torch.long)
        student_NV, teacher_NV = rows_of(student_NV, index_K), rows_of(teacher_NV, index_K)
        loss = chunked_loss(student_NV, teacher_NV)
        del student_NV, teacher_NV
        loss.backward()
    predicted = (sum(tracker.peaks["loss"].values()) - before) / 2**20
    assert predicted == pytest.approx(measured, rel=0.1)
