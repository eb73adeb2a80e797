"""A user's own folder of YAML, looked through before Hydra reads it, which follows every alias."""

import os
from functools import cache
from pathlib import Path

from tipx.errors import ConfigError
from tipx.files.yamls import read_yaml

ENTRIES = 10_000
"""Files and folders in it; more is not laid out like conf/."""


def check_folder(folder: Path) -> None:
    """Raises ConfigError, which names the file, for YAML that is too large, or that is none."""
    entries = 0
    for place, folders, files in os.walk(folder, followlinks=True):
        entries += len(folders) + len(files)
        if entries > ENTRIES:
            raise ConfigError(f"--config-dir: {folder} holds more than {ENTRIES} files; give one laid out like conf/")
        for name in sorted(files):
            if name.endswith(".yaml"):
                file = Path(place) / name
                check_file(file, file_stamp(file))


@cache
def check_file(file: Path, _stamp: tuple[int, int]) -> None:
    """Once for each state of a file: a sweep composes many points."""
    read_yaml(file, ConfigError, "mend it, or take it out of --config-dir")


def file_stamp(file: Path) -> tuple[int, int]:
    """What changes with a file; zeros for one that cannot be looked at, as a link to nowhere."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
