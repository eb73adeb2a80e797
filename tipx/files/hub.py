"""The Hugging Face hub, as far as it can be reached, and what of it is in the cache."""

import re
import urllib.error
import urllib.request
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple, Self

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

HUB = "hf://datasets/"


def find_hub(repo: str) -> None:
    """Raises OSError at once if the hub cannot be reached; `repo` as in its URLs, e.g. `models/Qwen/Qwen3-8B`.

    Asked by themselves, huggingface_hub and transformers try again for most of a minute.
    """
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    request = urllib.request.Request(f"{constants.ENDPOINT}/api/{repo}", method="HEAD")  # noqa: S310
    # A hub that answers with a refusal is there; what it refuses is for the library that asks next to say.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - the endpoint is the user's own setting


class HubFiles(NamedTuple):
    """Files of a data set on the hub: `hf://datasets/OWNER/NAME/PATTERN`."""

    repo: str
    pattern: str

    @classmethod
    def of(cls, address: str) -> Self:
        """Raises ValueError when it is no such address."""
        found = re.fullmatch(rf"{HUB}(\w[\w.-]*/\w[\w.-]*)/(.+)", address)
        if found is None:
            raise ValueError(f"expected {HUB}OWNER/NAME/FILE, got {address!r}")
        return cls(found[1], found[2])

    def cached(self) -> list[Path]:
        """What the cache holds whole, in order of name; [] if that is nothing. No network."""
        try:
            folder = snapshot_download(
                self.repo, repo_type="dataset", allow_patterns=[self.pattern], local_files_only=True
            )
        except LocalEntryNotFoundError:
            return []
        # A link whose blob is gone is no file.
        names = {p: p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}
        return sorted(path for path, name in names.items() if fnmatch(name, self.pattern))

    def fetch(self) -> list[Path]:
        """The files, from the cache or the hub; raises OSError when they cannot be had."""
        if found := self.cached():
            return found
        find_hub(f"datasets/{self.repo}")
        try:
            snapshot_download(self.repo, repo_type="dataset", allow_patterns=[self.pattern])
        except HTTPError as error:
            # A broken line is none in the library's eyes; a refusal is, and says more.
            raise error if isinstance(error, OSError) else OSError(str(error)) from error
        if found := self.cached():
            return found
        raise FileNotFoundError(f"{self.repo} on the hub has no file {self.pattern}")

    @property
    def command(self) -> str:
        """What fetches them where there is network."""
        return f"hf download --repo-type dataset {self.repo} --include '{self.pattern}'"
