"""logger=wandb writes a run that wandb itself can read, with the values of metrics.jsonl and inside the run directory."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.internal.datastore import DataStore

from tipx.config import build, load
from tipx.jobs import train
from tipx.loggers import Logger, NoLogger, WandbLogger
from tipx.run import Run

Overrides = Callable[..., list[str]]
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that what is written outside the run directory shows."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(folder))
    for name in ("CACHE", "CONFIG", "DATA"):
        (folder / name).mkdir()
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder / name))
    return folder


def records(path: Path) -> Iterator[Record]:
    store = DataStore()
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        yield record


def history(path: Path) -> list[dict[str, Any]]:
    """One row for each step, in a file that an offline run has left."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            row = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in items}
            rows.append(row)
    return rows


def test_an_offline_run_holds_every_value_of_metrics_jsonl(overrides: Overrides, home: Path, tmp_path: Path) -> None:
    run, _ = train(overrides("logger=wandb", "logger.project=small"), fresh=False, config_dir=None)
    (file,) = run.path.glob("wandb/offline-run-*/*.wandb")
    (begun,) = (r.run for r in records(file) if r.WhichOneof("record_type") == "run")
    print(file, begun.run_id, begun.project, sorted(p.name for p in home.rglob("*")), history(file)[:1])
    assert 0
