"""What a notebook gives where the command line has words."""

import shlex
from collections.abc import Sequence
from pathlib import Path

Words = str | Sequence[str]
"""`"selector=q3_only ratio=0.1"`, or the same as a list."""
Place = str | Path


def split(words: Words) -> list[str]:
    """As a shell would; a list is taken as it is."""
    return shlex.split(words) if isinstance(words, str) else list(words)
