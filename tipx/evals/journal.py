"""The answers of an evaluation as they come, so that a stopped one goes on where it was."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tipx.evals.summary import Sample
from tipx.files.atomic import append_text, make_folder, parse_object
from tipx.processes import World

ANSWER = {"mode", "id", "prompt", "value", "outcome", "extracted", "length", "stop"}
"""What every answer has."""


class Journal:
    """Files `part-<process>.jsonl` in the result's folder: {"job", "answer"} a line, gone when there is a result."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("part-*.jsonl") if re.fullmatch(r"part-\d+", path.stem))

    def read(self) -> dict[int, Sample]:
        """Answers of earlier starts by job, also with another number of processes; the same for every process.

        A line that was cut off in the middle of being written counts as none.
        """
        mine = [file for file in self.files if int(file.stem.split("-")[1]) % self.world.size == self.world.rank]
        rows = [row for file in mine for line in file.read_bytes().split(b"\n") for row in parse_line(line)]
        return dict(self.world.gather_list([(row["job"], row["answer"]) for row in rows]))

    def add(self, answers: Sequence[tuple[int, Sample]]) -> None:
        """Raises RunFailed when the disk does not take them."""
        file = self.folder / f"part-{self.world.rank}.jsonl"
        make_folder(self.folder)
        # The line before may have no end.
        append_text(file, "".join(f"\n{json.dumps({'job': job, 'answer': answer})}" for job, answer in answers) + "\n")

    def remove(self) -> None:
        for file in self.files:
            file.unlink(missing_ok=True)  # two may evaluate the same at once


def parse_line(line: bytes) -> list[dict[str, Any]]:
    """What a line says; nothing if it was cut off or damaged, or is empty: its answer is then made again."""
    try:
        row = parse_object(line.decode())
    except ValueError:
        return []
    answer = row.get("answer")
    there = type(row.get("job")) is int and isinstance(answer, dict) and answer.keys() >= ANSWER
    return [row] if there else []
