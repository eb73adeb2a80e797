"""`tipx data`: benchmarks and training sets on this machine and on the hub."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from huggingface_hub import constants

from tipx import config
from tipx.data.file import FilePrompts
from tipx.data.table import DataTable, Place
from tipx.deepplanning import official
from tipx.deepplanning.pull import pull as pull_folders
from tipx.errors import ConfigError, DataError
from tipx.evals.contamination import hashes_text
from tipx.evals.problems import Problems
from tipx.files.atomic import file_sha256
from tipx.files.hub import find_hub

Kind = Problems | FilePrompts
Row = dict[str, str | int | None]
ABSENT: Row = {"here": "no", "rows": None, "sha256": None, "wrong": None}


@dataclass(frozen=True)
class KnownDataset:
    """A benchmark or training set that is read from a table."""

    name: str
    kind: str
    what: Kind
    path: str | None

    @property
    def place(self) -> Place:
        return self.what.place(self.path) if isinstance(self.what, Problems) else self.what.place

    def count(self, table: DataTable) -> int:
        """Rows, checked as a run would; raises DataError."""
        return len(self.what.read(table))


def known_datasets(words: Sequence[str], config_dir: Path | None) -> list[KnownDataset]:
    """Those named, or all; words with = are overrides. Raises ConfigError for a name that is none."""
    overrides, names = [w for w in words if "=" in w], {w for w in words if "=" not in w}
    eval_ones = [o for o in overrides if not o.startswith("data.")]
    if names == {official.NAME}:
        # Composed for its complaints alone: to compose every benchmark takes seconds.
        config.build(config.load(eval_ones, "eval", config_dir), config_dir)
        return []
    found = [*benchmark_datasets(eval_ones, config_dir), *training_datasets(overrides, config_dir)]
    there = {one.name for one in found} | {official.NAME}
    if unknown := sorted(names - there):
        raise ConfigError(
            f"{unknown[0]!r} is no benchmark or training set that is read; there are {', '.join(sorted(there))}"
        )
    return [one for one in found if not names or one.name in names]


def benchmark_datasets(overrides: Sequence[str], config_dir: Path | None) -> Iterator[KnownDataset]:
    """Every benchmark that is a table."""
    for name in config.options("benchmark", config_dir):
        job = config.build(config.load([f"benchmark={name}", *overrides], "eval", config_dir), config_dir)
        if isinstance(job.benchmark, Problems):
            yield KnownDataset(name, "benchmark", job.benchmark, job.eval.path)


def training_datasets(overrides: Sequence[str], config_dir: Path | None) -> Iterator[KnownDataset]:
    """Every training set that is a table; one without a place of its own only if the overrides give one."""
    given = [o for o in overrides if o.startswith("data.")]
    for name in config.options("data", config_dir):
        cfg = config.load([f"data={name}"], "train", config_dir)
        if "hub" in cfg.data and (cfg.data.hub or given):
            cfg = config.load([f"data={name}", *given], "train", config_dir)
            yield KnownDataset(name, "data", config.build(cfg, config_dir).data, None)


def check_datasets(words: Sequence[str], config_dir: Path | None) -> pd.DataFrame:
    """One row a place where one may be, with what is `wrong` with it if it is there and cannot be used."""
    found = [row for one in known_datasets(words, config_dir) for row in dataset_rows(one)]
    if official.NAME in words or all("=" in word for word in words):
        # No table, but folders of its own.
        found += [row | {"hub": hub_status(official.REPO)} for row in official.rows(eval_path(words))]
    return pd.DataFrame(found, dtype=object)


def dataset_rows(one: KnownDataset) -> Iterator[Row]:
    """Of a local path one, else one for each copy on the hub."""
    head: Row = {"name": one.name, "kind": one.kind}
    if one.place.local:
        yield head | {"where": str(one.place.path)} | dataset_contents(one, None) | {"hub": None}
        return
    for candidate in one.place.candidates():
        files = candidate.cached()
        inside = dataset_contents(one, DataTable.of(one.place, candidate, files)) if files else ABSENT
        yield head | {"where": f"{candidate.repo}/{candidate.pattern}"} | inside | {"hub": hub_status(candidate.repo)}


def dataset_contents(one: KnownDataset, table: DataTable | None) -> Row:
    """What is in the files of a place."""
    try:
        table = table or one.place.find()
        return {"here": "yes", "rows": one.count(table), "sha256": files_checksum(table.files), "wrong": None}
    except DataError as error:
        return ABSENT | {"here": "unusable", "wrong": str(error)}


def files_checksum(files: Sequence[Path]) -> str:
    """The first 12 digits of a file's sha256; of several, of their checksums'."""
    sums = [file_sha256(file) for file in files]
    return (sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest())[:12]


@cache
def hub_status(repo: str) -> str:
    """Whether the hub answers."""
    try:
        find_hub(f"datasets/{repo}")
    except OSError:
        return "offline" if constants.HF_HUB_OFFLINE else "unreachable"
    return "reachable"


def benchmark_hashes(words: Sequence[str], config_dir: Path | None) -> str:
    """`benchmarks.json` with the named benchmarks as they are here; raises ConfigError for no name, DataError."""
    named = [one for one in known_datasets(words, config_dir) if isinstance(one.what, Problems)]
    if all("=" in word for word in words) or not named:
        raise ConfigError("expected names of benchmarks, as in `tipx data hashes math500 aime24 eval.path=FOLDER`")
    return hashes_text({one.name: one.what.load(one.path) for one in named if isinstance(one.what, Problems)})


def eval_path(words: Sequence[str]) -> str | None:
    """What the override of that name gives; the last one counts."""
    given = [word.partition("=")[2].strip("'\"") for word in words if word.startswith("eval.path=")]
    return given[-1] if given and given[-1] != "null" else None


def pull_datasets(words: Sequence[str], config_dir: Path | None) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Fetch what is named, and say where it lies; raises ConfigError for no name, DataError when it cannot be had."""
    if not words:
        raise ConfigError("expected names of benchmarks or training sets, as in `tipx data pull math500 dapo_math`")
    for one in known_datasets(words, config_dir):
        table = one.place.find()
        one.count(table)
        yield one.name, table.files
    if official.NAME in words:
        yield from ((name, (folder,)) for name, folder in pull_folders(eval_path(words)))
