"""A stranger's model folder, broken in every way we could think of: one line and exit code 2, or no harm done.

Each is tried with `tipx preflight`, `eval` and `train`, in worker processes that may die or hang. No code of the folder
may run, and little memory may be asked for. With -s it prints how many were tried of each kind, and how many failed.
"""

import multiprocessing
import sys
from concurrent.futures import TimeoutError as TooLate
from pathlib import Path

import pytest
from pebble import ProcessExpired, ProcessPool

from tests.attack.hostile_folders import COMMANDS, GIB, KINDS, attempt, fault

TIMEOUT_S = 90.0
LIMIT = 3 * GIB


def test_there_are_enough() -> None:
    assert sum(map(len, KINDS.values())) >= 150
    assert len(KINDS["chat template"]) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_folder_is_one_line(kind: str, pair_dir: Path, tmp_path: Path) -> None:
    good, faults, tried = pair_dir / "student", dict[str, str](), 0
    with ProcessPool(max_workers=2, context=multiprocessing.get_context("fork")) as pool:
        futures = {
            (name, command): pool.schedule(
                attempt,
                args=[kind, name, command, good, tmp_path / f"{number}-{command}", LIMIT],
                timeout=TIMEOUT_S,
            )
            for number, name in enumerate(KINDS[kind])
            for command in COMMANDS
        }
        for (name, command), future in futures.items():
            tried += 1
            try:
                found = fault(future.result())
            except TooLate:
                found = f"more than {TIMEOUT_S:g} s"
            except ProcessExpired as error:
                found = f"the process died: {error}"
            if found is not None:
                faults[f"{command}: {name}"] = found
    sys.stdout.write(f"\n{kind}: {tried} commands on {len(KINDS[kind])} folders, {len(faults)} faults\n")
    assert not faults, "\n".join(f"{case}: {found}" for case, found in faults.items())
