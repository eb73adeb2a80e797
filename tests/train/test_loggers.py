"""logger=wandb leaves a file as wandb reads it, with the values of metrics.jsonl, inside the run directory."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from tipx.config import build, load
from tipx.errors import ConfigError
from tipx.runs.directory import Run
from tipx.train.loggers import Logger, NoLogger, Silence, WandbLogger, check_wandb
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own for wandb, so that what is written outside the run directory shows."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder / name))
    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.chdir(folder)
    yield folder
    wandb.teardown()


def records(path: Path) -> Iterator[Record]:
    """A .wandb file is a LevelDB log: 7 bytes of its own, then blocks of 32 KiB with chunks (crc32, length, type)."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # too little for a chunk: padding
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def logged(run: Run) -> list[list[dict[str, Any]]]:
    """The rows of each wandb run in the directory, oldest first; wandb's own keys (_step, _timestamp) left out."""
    wandb.teardown()  # its service writes the end of the file when it goes
    files = sorted(run.path.glob("wandb/offline-run-*/*.wandb"))
    assert all(r.run.run_id == run.path.name for file in files for r in records(file) if r.HasField("run"))
    rows = [[r.history.item for r in records(file) if r.HasField("history")] for file in files]
    return [
        [{i.nested_key[0]: json.loads(i.value_json) for i in row if i.nested_key[0][0] != "_"} for row in file]
        for file in rows
    ]


def test_an_offline_run_holds_every_value_of_metrics_jsonl(overrides: Overrides, home: Path) -> None:
    run, _ = train_run(overrides("logger=wandb", "logger.project=small"), fresh=False, config_dir=None)
    (rows,) = logged(run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows == run.rows()
    # Only its service's own log is elsewhere.
    assert {path.relative_to(home).parts[0] for path in home.rglob("*") if path.is_file()} <= {"CACHE"}


@pytest.mark.usefixtures("home")
def test_a_resumed_run_goes_on_under_its_own_name(overrides: Overrides) -> None:
    def cut(_: Path) -> None:
        raise KeyboardInterrupt

    args = overrides("logger=wandb")
    with pytest.MonkeyPatch.context() as patch:
        save = Run.save_checkpoint
        patch.setattr(
            Run, "save_checkpoint", lambda run, step, fill, keep: save(run, step, cut if step == 4 else fill, keep)
        )
        with pytest.raises(KeyboardInterrupt):
            train_run(args, fresh=False, config_dir=None)
    run, _ = train_run(args, fresh=False, config_dir=None)
    # Cut short while saving step 4, resumed from step 2: one folder holds all of it, once.
    (rows,) = logged(run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows == run.rows()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["a", "[ab]"])
def test_only_its_own_earlier_folders_go(name: str, tmp_path: Path) -> None:
    others = [tmp_path / name / "wandb" / other for other in ("offline-run-20260101_000000-b", "mine")]
    old = tmp_path / name / "wandb" / f"offline-run-20260101_000000-{name}"
    for folder in (*others, old):
        folder.mkdir(parents=True)
    sink = WandbLogger(project="x", entity=None, group=None, mode="offline").open(tmp_path / name, {})
    sink.resume([])
    sink.finish()
    assert [folder.exists() for folder in (*others, old)] == [True, True, False]


def test_the_default_is_no_logger(overrides: Overrides, tmp_path: Path) -> None:
    logger = build(load(overrides())).logger
    assert isinstance(logger, NoLogger)
    assert isinstance(logger, Logger)
    assert isinstance(logger.open(tmp_path / "x", {}), Silence)
    assert not (tmp_path / "x").exists()


def test_wandb_is_offline_unless_asked(overrides: Overrides) -> None:
    assert build(load(overrides("logger=wandb"))).logger == WandbLogger(
        project="tipx", entity=None, group="solo", mode="offline"
    )
    online = build(load(overrides("logger=wandb", "logger.mode=online", "logger.group=grid"))).logger
    assert (online.mode, online.group) == ("online", "grid")


@pytest.fixture
def stranger(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody that a server knows, and whom nobody may ask."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    wandb.teardown()


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("environment", ["", "offline", "online"])
def test_online_without_a_key_is_one_line(
    environment: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    online = WandbLogger(project="x", entity=None, group=None, mode="online")
    with pytest.raises(ConfigError, match=r"logger.mode=online: no key; type `wandb login`, or export WANDB_API_KEY"):
        online.check()
    with pytest.raises(ConfigError, match="--wandb: no key"):
        check_wandb("online", "--wandb", "leave it out")
    assert capfd.readouterr() == ("", "")
    WandbLogger(project="x", entity=None, group=None, mode="offline").check()
    NoLogger().check()
    with pytest.raises(ConfigError, match="WANDB_MODE: expected offline or online, got 'on'"):
        check_wandb("on", "--wandb", "leave it out")


@pytest.mark.slow  # wandb tries for ten seconds
@pytest.mark.usefixtures("stranger")
def test_a_server_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    with pytest.raises(
        ConfigError, match=r"logger.mode=online: .*127.0.0.1:9.*; leave out logger.mode=online"
    ) as caught:
        WandbLogger(project="x", entity=None, group=None, mode="online").check()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ImportError("no\nsuch"), AttributeError("odd"), TypeError("Descriptors")])
def test_a_broken_installation_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise error

    monkeypatch.setattr("tipx.train.loggers.import_module", broken)
    with pytest.raises(ConfigError, match=r"logger=wandb.*: wandb cannot be imported \(.*\); pip install -U wandb"):
        WandbLogger(project="x", entity=None, group=None, mode="offline").check()
