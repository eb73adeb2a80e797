"""What makes a directory a run of tipx, and the label in its name."""

import re
from pathlib import Path

MARK = ".tipx-run"
MARK_TEXT = "tipx made this directory. `tipx runs rm` removes only directories that hold this file.\n"
LABEL = re.compile(r"-([0-9a-f]{8})$")
"""The hash at the end of a directory's name."""


def is_run(path: Path) -> bool:
    """Whether tipx made this directory: the one place that says so.

    It holds the mark. Runs that were made before there was one are named by their hash, and hold a configuration beside
    their lock or one that names tipx.
    """
    try:
        if (path / MARK).is_file():
            return True
        config = path / "config.yaml"
        if not (LABEL.search(path.name) and config.is_file()):
            return False
        if (path / ".lock").is_file():
            return True
        return re.search(rb"^_target_: tipx\.", config.read_bytes(), re.MULTILINE) is not None
    except OSError:  # what cannot be looked at is not known to be ours
        return False
