"""Where rows come from: a local file, a folder of files, or the hub; jsonl, json, csv or parquet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from tipx.errors import DataError
from tipx.hub import HUB, HubFiles

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    # Nullable types: one missing answer must not turn the answer 5 of another row into 5.0.
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, dtype_backend="numpy_nullable"),
    ".json": lambda path: pd.read_json(path, dtype=False, dtype_backend="numpy_nullable"),
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".parquet": lambda path: pd.read_parquet(path, dtype_backend="numpy_nullable"),
}


@dataclass(frozen=True)
class Place:
    """Where a table may be: `path`, if the user gave one, else the first of the hub addresses that can be had.

    `key` is what the user types to give a path, `name` what the file is called in a folder.
    """

    key: str
    name: str
    path: str | None
    hub: Sequence[str]

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

    def offline(self) -> "Table | None":
        """What can be read without network; None if nothing can. Raises DataError for a local path that is wrong."""
        if self.local:
            return Table.at(self, self._file(str(self.path)))
        return next((Table.of(self, c, files) for c in self.candidates() if (files := c.cached())), None)

    def find(self) -> "Table":
        """What can be read, fetched first if need be; raises DataError that says what to do when nothing can be had."""
        return self.offline() or self.fetch()

    def fetch(self) -> "Table":
        """From the hub into its cache; raises DataError."""
        reasons = []
        for candidate in self.candidates():
            try:
                return Table.of(self, candidate, candidate.fetch())
            except OSError as error:
                reasons.append(f"{candidate.repo}: {refusal(candidate, error)}")
        raise DataError(
            f"{self.key}: not in the hub's cache, and cannot be fetched ({'; '.join(reasons)}); where "
            f"there is network: {self.candidates()[0].command}, or give a file: {self.key}=/data/{self.name}.jsonl"
        )

    def _file(self, path: str) -> Path:
        place = Path(path)
        if place.is_dir():
            there = [place / f"{self.name}{suffix}" for suffix in READERS]
            found = next((file for file in there if file.is_file()), None)
            if found is None:
                names = ", ".join(file.name for file in there)
                raise DataError(f"{self.key}: the folder {path!r} has none of {names}; give the file itself")
            return found
        if place.suffix not in READERS:
            raise DataError(f"{self.key}: cannot tell the format of {path!r}; expected {', '.join(READERS)}")
        return place


@dataclass(frozen=True)
class Table:
    """Files that hold one table, and how the user would name them."""

    key: str
    origin: str
    files: tuple[Path, ...]

    @classmethod
    def at(cls, place: Place, file: Path) -> Self:
        return cls(place.key, str(file), (file,))

    @classmethod
    def of(cls, place: Place, hub: HubFiles, files: Sequence[Path]) -> Self:
        return cls(place.key, f"{HUB}{hub.repo}/{hub.pattern}", tuple(files))

    def rows(self) -> pd.DataFrame:
        """Every row, at least one; raises DataError."""
        frame = pd.concat([self._read(file) for file in self.files], ignore_index=True)
        if frame.empty:
            raise DataError(f"{self.key}: {self.origin!r} holds no prompts; expected at least one row")
        return frame

    def _read(self, file: Path) -> pd.DataFrame:
        try:
            return READERS[file.suffix](file)
        except OSError as error:
            raise DataError(
                f"{self.key}: cannot read {str(file)!r} ({type(error).__name__}: {error}); give another: "
                f"{self.key}=/data/prompts.parquet"
            ) from error
        except (ValueError, KeyError) as error:
            if file.is_file() and file.stat().st_size == 0:
                raise DataError(f"{self.key}: {str(file)!r} is empty; expected at least one row") from error
            raise DataError(
                f"{self.key}: {str(file)!r} is not valid {file.suffix} ({error}); if it is half a download, remove it "
                "and fetch it again"
            ) from error


def refusal(files: HubFiles, error: OSError) -> str:
    """Why the hub did not give the files, and what helps, in a few words."""
    if isinstance(error, GatedRepoError):
        return (
            f"gated; accept its terms at https://huggingface.co/datasets/{files.repo} and log in with `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return "not on the hub, or private; log in with `hf auth login` if it is yours"
    return str(getattr(error, "reason", None) or error).splitlines()[0]
