"""Damaged checkpoints and full disks: the run goes on from earlier ones, and ends as one that never suffered."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.resume.conftest import Ask, Runner, as_of, same
from tipx.files.atomic import find_damage
from tipx.runs.directory import Run

pytestmark = pytest.mark.long(35)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    """One bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("harm", "name", "said"),
    [
        (cut, "model.safetensors", "the checksum of model.safetensors does not match"),
        (flip, "model.safetensors", "the checksum of model.safetensors does not match"),
        (flip, "trainer.pt", "the checksum of trainer.pt does not match"),
        (flip, "config.json", "the checksum of config.json does not match"),
        (remove, "trainer.pt", "trainer.pt is missing"),
        (cut, "manifest.json", "its manifest cannot be read"),
        (remove, "manifest.json", "it has no manifest"),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_used(
    harm: Callable[[Path], None], name: str, said: str, whole: Run, ask: Ask, tmp_path: Path
) -> None:
    run = as_of(whole, 33, tmp_path)
    bad = run.path / "checkpoints" / "000033"
    harm(bad / name)
    code, _, err = ask()
    assert code == 0
    assert (
        f"warning: checkpoint {bad} is damaged ({said}), kept as .000033.damaged; going back to the one before it\n"
        in err
    )
    assert "resuming after step 30 of 36" in err
    same(run, whole)


def test_without_a_good_checkpoint_it_starts_again_and_ends_the_same(whole: Run, ask: Ask, tmp_path: Path) -> None:
    run = as_of(whole, 9, tmp_path)
    for _, folder in run.checkpoints.saved():
        flip(folder / "trainer.pt")
    code, _, err = ask()
    assert code == 0
    assert [f"checkpoints/00000{step} is damaged" in err for step in (3, 6, 9)] == [True] * 3
    assert "resuming" not in err
    same(run, whole)


def test_metrics_cut_in_the_middle_of_a_line_are_written_again(whole: Run, ask: Ask, tmp_path: Path) -> None:
    run = as_of(whole, 30, tmp_path)
    run.metrics_file.write_bytes(run.metrics_file.read_bytes()[:-100])
    (run.path / "rollouts" / ".000035.jsonl.tmp").write_text('{"prom')
    assert ask()[0] == 0
    same(run, whole)


LIMIT = "raise the limit of a file (`ulimit -f`) and run the same command again"


# Resumed after step 3 a line of metrics is some 1.2 kB, step 5 is sampled, and step 6 is the next to be saved.
@pytest.mark.parametrize(
    ("limit", "file"),
    [
        (4_500, "metrics.jsonl"),
        (6_000, "rollouts/000005.npz"),
        (12_000, "checkpoints/000006"),
        (30_000, "checkpoints/000006"),
    ],
    ids=["a line", "statistics", "weights", "optimizer"],
)
def test_a_full_disk_ends_the_run_in_one_line_and_room_lets_it_go_on(
    limit: int, file: str, here: list[str], whole: Run, runner: Runner, ask: Ask, tmp_path: Path
) -> None:
    run = as_of(whole, 3, tmp_path)
    runner.start(here, tmp_path, limit=limit)
    code, log = runner.code(), runner.said()
    assert code == 1, log
    what = f"checkpoint {run.path / file}" if file.startswith("check") else run.path / file
    intact = "earlier checkpoints are intact: " if file.startswith("check") else ""
    line = f"error: cannot write {what}: File too large; {intact}{LIMIT}\n"
    assert log.endswith(line)
    assert "Traceback" not in log
    assert [(step, find_damage(folder)) for step, folder in run.checkpoints.saved()] == [(3, None)]
    assert ask()[0] == 0
    same(run, whole)
