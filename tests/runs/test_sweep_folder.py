"""How a point stands, read from files."""

import json
import threading
from pathlib import Path

import pytest

from tipx.runs.directory import Run
from tipx.runs.sweep_folder import Point, SweepFolder
from tipx.sweep.screen import estimate_seconds, points_table, shared_overrides


def point(name: str, *overrides: str) -> Point:
    return Point(name, (*overrides, "group=g"), {"model": "tiny"})


A, B = point("tiny-full-00000000", "selector=full"), point("tiny-prefix-11111111", "selector=prefix")


FACTS = {"name": "mine", "description": "A question", "command": "tipx sweep mine.yaml seed=0"}


@pytest.fixture
def board(tmp_path: Path) -> SweepFolder:
    board = SweepFolder(tmp_path / "g")
    board.record([A, B], **FACTS)
    return board


def begin(board: SweepFolder, which: Point, *rows: dict[str, float]) -> Run:
    run = Run.create(board.folder / which.run, {"seed": 0}, {})
    for row in rows:
        run.log(row)
    return run


def test_the_plan_is_kept_and_grows(board: SweepFolder) -> None:
    third = point("tiny-random-22222222", "selector=random")
    SweepFolder(board.folder).record([third, A], **FACTS)
    assert board.points() == [A, B, third]
    assert json.loads(board.file.read_text())["name"] == "mine"
    assert board.command == "tipx sweep mine.yaml seed=0"
    assert SweepFolder(board.folder.parent).points() == []


def test_two_plans_at_once_lose_no_point(board: SweepFolder) -> None:
    many = [point(f"tiny-x-{i:08d}", f"seed={i}") for i in range(20)]
    threads = [threading.Thread(target=board.record, args=([one],), kwargs=FACTS) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(board.points()) == {A, B, *many}


def test_from_waiting_to_done(board: SweepFolder) -> None:
    assert board.state(A).status == "waiting"
    run = begin(board, A, {"step": 1, "time/train_s": 2.0}, {"step": 2, "time/train_s": 3.0, "eval/x/mean": 0.5})
    with run.lock():
        assert board.state(A).status == "running"
    stopped = board.state(A)
    assert (stopped.status, stopped.step, stopped.seconds) == ("stopped", 2, 5.0)
    assert stopped.accuracy == {"x": 0.5}
    board.fail(A, "out of luck")
    assert (board.state(A).status, board.state(A).error) == ("failed", "out of luck")
    board.forgive(A)
    assert board.state(A).status == "stopped"
    run.finish({})
    assert board.state(A).status == "done"


def test_looking_at_a_lock_neither_makes_a_folder_nor_keeps_the_run(board: SweepFolder) -> None:
    run = board.run(B)
    assert not run.locked
    assert not run.path.exists()
    with run.lock():
        pass
    assert not run.locked
    with run.lock():
        assert run.locked


def test_a_run_can_be_taken_while_others_look(board: SweepFolder) -> None:
    run, looking = board.run(B), threading.Event()
    run.make()

    def look() -> None:
        while not looking.is_set():
            _ = run.locked

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(50):
            with run.lock():
                pass
    finally:
        looking.set()
        thread.join()


def test_the_time_left_is_by_what_was_done(board: SweepFolder) -> None:
    # One point took 10 s; the other has 4 s behind it.
    begin(board, A, {"step": 1, "time/train_s": 10.0}).finish({})
    assert estimate_seconds([board.state(A)]) is None
    begin(board, B, {"step": 1, "time/train_s": 4.0})
    assert estimate_seconds([board.state(A), board.state(B)]) == pytest.approx(6.0)


def test_the_table_leaves_out_what_all_share_and_counts_what_does_not_fit(board: SweepFolder) -> None:
    many = [point(f"tiny-x-{i:08d}", "model=tiny", f"seed={i}") for i in range(9)]
    states = [board.state(one) for one in many]
    assert shared_overrides(states) == {"model=tiny"}
    table = points_table(states, "t", rows=4)
    assert table.row_count == 4
    assert "9 waiting, 5 not shown" in str(table.caption)
