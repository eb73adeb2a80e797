"""Where rows come from: a local file, a folder of files, or the hub."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from tipx.data.formats import READERS, UNPACKERS, Columns, WrongError, known_suffix, read
from tipx.errors import DataError
from tipx.files.atomic import file_sha256
from tipx.files.hub import HUB, HubFiles

DATASET, SPLITS = "state.json", "dataset_dict.json"
"""What lies in a folder of `Dataset.save_to_disk`, and of `DatasetDict.save_to_disk`."""
NUMBERED = re.compile(r"(?:[-_.]|^)\d+(?:[-_]of[-_](\d+))?$|(?<=^part)-\d+-.*$")
"""How the parts of one table are told apart: train-00000-of-00002, shard_3, 0001, Spark's part-00000-<uuid>-c000."""
BESIDE = ("dataset_info.json", "dataset_infos.json")
"""What a data set's folder holds that is no table."""


@dataclass(frozen=True)
class Place:
    """Where a table may be: `path`, if the user gave one, else the first of the hub addresses that can be had.

    `key` is what the user types to give a path, `name` what the file is called in a folder. `shared` is for a folder
    of several tables, each under its name: what has another name is another table.
    """

    key: str
    name: str
    path: str | None
    hub: Sequence[str]
    shared: bool = False

    @property
    def local(self) -> bool:
        """Whether the path is one of this machine."""
        return self.path is not None and not self.path.startswith(HUB)

    def candidates(self) -> list[HubFiles]:
        """Files on the hub, in the order in which they are tried; raises DataError for a malformed address."""
        try:
            return [HubFiles.of(address) for address in ([*self.hub] if self.path is None else [self.path])]
        except ValueError as error:
            raise DataError(f"{self.key}: {error}") from error

    def offline(self) -> "DataTable | None":
        """What can be read without network; None if nothing can. Raises DataError for a local path that is wrong."""
        if self.local:
            parts = tuple(self._files(str(self.path)))
            return DataTable(self.key, str(parts[0] if len(parts) == 1 else self.path), parts)
        return next((DataTable.of(self, c, files) for c in self.candidates() if (files := c.cached())), None)

    def find(self) -> "DataTable":
        """What can be read, fetched first if need be; raises DataError that says what to do when nothing can be had."""
        return self.offline() or self.fetch()

    def fetch(self) -> "DataTable":
        """From the hub into its cache; raises DataError."""
        reasons = []
        for candidate in self.candidates():
            try:
                return DataTable.of(self, candidate, candidate.fetch())
            except OSError as error:
                reasons.append(f"{candidate.repo}: {fetch_refusal(candidate, error)}")
        raise DataError(
            f"{self.key}: not in the hub's cache, and cannot be fetched ({'; '.join(reasons)}); where "
            f"there is network: {self.candidates()[0].command}, or give a file: {self.key}=/data/{self.name}.jsonl"
        )

    def _files(self, path: str) -> list[Path]:
        """The parts of the table at a local path; raises DataError."""
        place = Path(path)
        if place.is_dir():
            return self._inside(place, shared=self.shared)
        found = matching_files(place)
        if not found:
            raise DataError(f"{self.key}: no file fits {path!r}; mend it")
        for file in found:
            if known_suffix(file) is None:
                raise DataError(
                    f"{self.key}: cannot tell the format of {str(file)!r}; expected {', '.join(READERS)}, or one of "
                    f"them with {', '.join(UNPACKERS)} behind"
                )
        return found

    def _inside(self, folder: Path, *, shared: bool) -> list[Path]:
        """The parts of the table in a folder; raises DataError for none, and for several tables."""
        named = [folder / f"{self.name}{end}{packer}" for packer in ("", *UNPACKERS) for end in READERS]
        if there := [file for file in named if file.is_file()]:
            return there[:1]
        if (folder / SPLITS).is_file():
            return self._inside(self._split(folder), shared=False)
        if (folder / DATASET).is_file():
            return self._dataset(folder)
        tables = parts_of(folder)
        if shared:
            if (folder / self.name).is_dir():
                return self._inside(folder / self.name, shared=False)
            tables = {name: files for name, files in tables.items() if name == self.name}
        if len(tables) == 1:
            ((name, files),) = tables.items()
            self._refuse_missing_parts(folder, name, files)
            return files
        if not tables and not shared and (folder / "data").is_dir():  # as the hub's repositories are laid out
            return self._inside(folder / "data", shared=False)
        if not tables:
            names = ", ".join(file.name for file in named[: len(READERS)])
            raise DataError(f"{self.key}: the folder {str(folder)!r} has none of {names}; give the file itself")
        several = ", ".join(file.name for files in tables.values() for file in files[:1])
        raise DataError(
            f"{self.key}: the folder {str(folder)!r} holds several tables ({several:.200}); give one, or a pattern: "
            f"{self.key}='{folder}/{next(iter(tables))}*'"
        )

    def _dataset(self, folder: Path) -> list[Path]:
        """The parts of what `Dataset.save_to_disk` wrote; raises DataError."""
        try:
            state = json.loads((folder / DATASET).read_text("utf-8"))
            files = [folder / Path(part["filename"]).name for part in state["_data_files"]]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{self.key}: {str(folder / DATASET)!r} is not what Dataset.save_to_disk writes; give the file itself"
            ) from error
        return files

    def _split(self, folder: Path) -> Path:
        """The one split of what `DatasetDict.save_to_disk` wrote; raises DataError where there are several."""
        splits = sorted(path.parent for path in folder.glob(f"*/{DATASET}"))
        if len(splits) != 1:
            names = ", ".join(split.name for split in splits) or "none"
            first = splits[0] if splits else folder / "train"
            raise DataError(
                f"{self.key}: the folder {str(folder)!r} holds several splits ({names}); give one: {self.key}={first}"
            )
        return splits[0]

    def _refuse_missing_parts(self, folder: Path, name: str, files: Sequence[Path]) -> None:
        """Raises DataError where the names say that there are more parts."""
        totals = {int(found[1]) for file in files if (found := NUMBERED.search(bare_name(file))) and found[1]}
        if totals and totals != {len(files)}:
            raise DataError(
                f"{self.key}: the folder {str(folder)!r} has {len(files)} of {max(totals)} parts of {name}; fetch the "
                "others"
            )


@dataclass(frozen=True)
class DataTable:
    """Files that hold one table, and how the user would name them."""

    key: str
    origin: str
    files: tuple[Path, ...]

    @classmethod
    def of(cls, place: Place, hub: HubFiles, files: Sequence[Path]) -> Self:
        return cls(place.key, f"{HUB}{hub.repo}/{hub.pattern}", tuple(files))

    def rows(self) -> pd.DataFrame:
        """Every row, at least one, with values as they are in the files; raises DataError."""
        parts = [self._read(file) for file in self.files]
        names = dict.fromkeys(name for part in parts for name in part)
        columns: Columns = {name: [] for name in names}
        for part in parts:
            count = len(next(iter(part.values()), []))
            for name, cells in columns.items():
                cells.extend(part.get(name, [None] * count))
        if not any(columns.values()):
            raise DataError(f"{self.key}: {self.origin!r} holds no prompts; expected at least one row")
        return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})

    def record(self) -> dict[str, Any]:
        """Which files they are, for the run's provenance."""
        files = [{"path": str(f), "bytes": f.stat().st_size, "sha256": file_sha256(f)} for f in self.files]
        return {"source": self.origin, "files": files}

    def _read(self, file: Path) -> Columns:
        try:
            return read(file)
        except OSError as error:
            raise DataError(
                f"{self.key}: cannot read {str(file)!r} ({type(error).__name__}: {error}); give another: "
                f"{self.key}=/data/prompts.parquet"
            ) from error
        except WrongError as error:
            what = f"{str(file)!r} is not valid {known_suffix(file)} ({error})"
            raise DataError(
                f"{self.key}: {what}; mend it, or give another: {self.key}=/data/prompts.parquet"
            ) from error


def matching_files(place: Path) -> list[Path]:
    """The files of a pattern, in order of name; what is no pattern, or a file in spite of its signs, is itself."""
    if place.exists() or not re.search(r"[*?\[]", place.name):
        return [place]
    return sorted(place.parent.glob(place.name))


def bare_name(file: Path) -> str:
    """A file's name without its format and its packer."""
    name = file.name[: -len(file.suffix)] if file.suffix.lower() in UNPACKERS else file.name
    return Path(name).stem


def parts_of(folder: Path) -> dict[str, list[Path]]:
    """The files of each table in a folder, in order of name, by the name without their numbers."""
    tables: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if (
            file.is_file()
            and known_suffix(file) is not None
            and file.name not in BESIDE
            and not file.name.startswith(".")
        ):
            tables.setdefault(f"{NUMBERED.sub('', bare_name(file))}{known_suffix(file)}", []).append(file)
    names = {name: Path(name).stem for name in tables}
    # One table in two formats stays two.
    return {names[name] if list(names.values()).count(names[name]) == 1 else name: f for name, f in tables.items()}


def fetch_refusal(files: HubFiles, error: OSError) -> str:
    """Why the hub did not give the files, and what helps, in a few words."""
    if isinstance(error, GatedRepoError):
        return (
            f"gated; accept its terms at https://huggingface.co/datasets/{files.repo} and log in with `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return "not on the hub, or private; log in with `hf auth login` if it is yours"
    return str(getattr(error, "reason", None) or error).splitlines()[0]
