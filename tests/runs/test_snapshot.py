"""The file of a step's tokens: what was written comes back, and a damaged one is named."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tipx.errors import RunError
from tipx.runs.snapshot import ROLES, Snapshot

U32, F32 = np.uint32, np.float32


def snapshot(**changes: Any) -> Snapshot:
    """Two responses of 3 and 2 tokens; the second token of the first is a tool's. The first response is shown."""
    made: dict[str, Any] = {
        "seed": 7,
        "step": 50,
        "lengths_B": np.array([3, 2]),
        "tokens_N": np.array([5, 6, 7, 5, 8], U32),
        "valid_N": np.array([True, False, True, True, True]),
        "weights_N": np.array([1, 0, 0, 0.5, 0], F32),
        "stats": {"student_entropy": np.array([0.1, 0, 0.3, np.nan, 1e-30], F32)},
        "top_ids": {role: np.arange(6, dtype=U32).reshape(3, 2) for role in ROLES},
        "top_probs": {role: np.full((3, 2), 1 / 3, F32) for role in ROLES},
        "pieces": {5: "é", 6: "\ufffd", 7: "</script>", 8: "\x1b[31m😀"},
    }
    return Snapshot(**made | changes)


def test_what_was_written_comes_back_bit_for_bit(tmp_path: Path) -> None:
    one = snapshot()
    (tmp_path / "000050.npz").write_bytes(one.to_bytes())
    other = Snapshot.read(tmp_path / "000050.npz")
    assert (other.seed, other.step, other.pieces) == (7, 50, one.pieces)
    for name in ("lengths_B", "tokens_N", "valid_N", "weights_N"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes()), name
    for group in ("stats", "top_ids", "top_probs"):
        assert getattr(one, group).keys() == getattr(other, group).keys()
        assert all(v.tobytes() == getattr(other, group)[k].tobytes() for k, v in getattr(one, group).items())


def test_rows_and_the_grid() -> None:
    one = snapshot()
    assert one.tokens_N[one.slice(1)].tolist() == [5, 8]
    assert one.grid(one.tokens_N).tolist() == [[5, 6, 7], [5, 8, 0]]
    assert one.grid(one.valid_N).tolist() == [[True, False, True], [True, True, False]]


@pytest.mark.parametrize("part", [0, 10, 400, -30])
def test_a_file_that_was_cut_is_one_line(part: int, tmp_path: Path) -> None:
    path = tmp_path / "000050.npz"
    path.write_bytes(snapshot().to_bytes()[:part])
    with pytest.raises(RunError, match=r"000050\.npz is damaged: .*inspect another step"):
        Snapshot.read(path)


def test_a_later_format_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "000050.npz"
    with monkeypatch.context() as patch:
        patch.setattr("tipx.runs.snapshot.FORMAT", 3)
        path.write_bytes(snapshot().to_bytes())
    with pytest.raises(RunError, match="expected format 1 to 2, got 3"):
        Snapshot.read(path)


def test_the_first_format_also_held_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, one = tmp_path / "000050.npz", snapshot()
    with monkeypatch.context() as patch:
        patch.setattr("tipx.runs.snapshot.FORMAT", 1)
        with np.load(io.BytesIO(one.to_bytes())) as file:
            arrays = dict(file)
    np.savez_compressed(path, **arrays, prompt_lengths_B=np.array([1, 2]), prompts_P=np.array([1, 2, 3], U32))
    assert Snapshot.read(path).to_bytes() == one.to_bytes()
