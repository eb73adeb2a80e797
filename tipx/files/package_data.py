"""Where the folders that ship with the package are: `conf`, `sweeps`, `reports`."""

from pathlib import Path


def package_folder(name: str) -> Path:
    """The folder `name`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if any(inside.glob("**/*.yaml")) else package.parent / name
