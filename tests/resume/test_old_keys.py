"""A run that began before keys of metrics.jsonl were renamed goes on, and leaves what the same run of today leaves."""

import json
from pathlib import Path

from tests.resume.conftest import as_of, same
from tests.rows import as_older
from tipx.runs.directory import Run
from tipx.train.start import train_run


def test_a_run_of_before_goes_on_to_the_same_numbers(here: list[str], whole: Run, tmp_path: Path) -> None:
    run = as_of(whole, 30, tmp_path)
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    older = [as_older(line) if line["step"] < 20 else line for line in lines[:33]]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in older))
    train_run(here, fresh=False, config_dir=None)
    same(run, whole)
    assert '"tokens/n"' not in run.metrics_file.read_text()
