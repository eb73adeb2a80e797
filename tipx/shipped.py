"""Where the YAML lies that comes with tipx: inside the package in a wheel, beside it in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(kind: str) -> Path:
    """The folder of `conf`, `sweeps` or `reports`."""
    return PACKAGE / kind if (PACKAGE / kind).is_dir() else PACKAGE.parent / kind
