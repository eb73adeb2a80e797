"""A sweep file: one question, asked as base overrides, axes, and variants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tipx.config import check_points, expand_overrides, key_of
from tipx.errors import ConfigError
from tipx.files.package_data import package_folder
from tipx.files.yamls import first_comment, read_yaml
from tipx.spec import spec

ALIKE = frozenset({"model", "experiment"})
"""Two ways to say which pair: whoever gives one replaces both."""


@spec
class SweepFile:
    """The runs of a sweep: each combination of the values of `axes`, with each of `variants`.

    All are Hydra overrides, and each may name several values (`ratio=0.5,0.2`, `seed=range(0,3)`). What is typed beside
    a sweep's name replaces what the file says of the same key.
    """

    base: tuple[str, ...] = ()
    """Overrides of every run, as loop.eval_last=true."""
    axes: tuple[str, ...] = ()
    """Overrides with several values each, of which all combinations are run. They vary slowest."""
    variants: tuple[tuple[str, ...], ...] = ((),)
    """Lists of overrides. Each list, and each combination of its values, is run at each point of the axes."""

    def combinations(self, typed: Sequence[str], config_dir: Path | None = None) -> list[list[str]]:
        """The overrides of every run; axes vary slowest: the first seed is a whole table. Raises ConfigError."""
        given = {key_of(override) for override in typed}
        given |= ALIKE if given & ALIKE else set()

        def left(overrides: Sequence[str]) -> list[str]:
            return [override for override in overrides if key_of(override) not in given]

        crossed = [*left(self.axes), *typed]
        along = expand_overrides(crossed, config_dir)
        variants = [variant for some in self.variants for variant in expand_overrides(left(some), config_dir)]
        check_points(len(along) * len(variants), crossed)
        return [[*left(self.base), *variant, *axes] for axes in along for variant in variants]


def read_sweep(name: str, config_dir: Path | None) -> tuple[SweepFile, str]:
    """The sweep file called `name`, or at the path `name`, and its first comment line; raises ConfigError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else find_sweep(name, config_dir)
    tree = read_yaml(path, ConfigError, "`tipx list sweeps` names those there are")
    try:
        return SweepFile(**tree), first_comment(path)
    except ValidationError as error:
        raise ConfigError(
            f"{path}: {first_error(error)}; a sweep has base, axes and variants, lists of overrides"
        ) from error


def first_error(error: ValidationError) -> str:
    """The first thing that is wrong with a file."""
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}, got {first['input']!r}"


def sweep_folders(config_dir: Path | None) -> list[Path]:
    """Where sweep files are looked for; a user's own come first."""
    return [*([config_dir / "sweeps"] if config_dir else []), package_folder("sweeps")]


def sweep_names(config_dir: Path | None) -> list[str]:
    """Every sweep there is."""
    return sorted({path.stem for folder in sweep_folders(config_dir) for path in folder.glob("*.yaml")})


def find_sweep(name: str, config_dir: Path | None) -> Path:
    """The file of the sweep `name`; raises ConfigError."""
    for folder in sweep_folders(config_dir):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ConfigError(
        f"no sweep is called {name!r}; there are {', '.join(sweep_names(config_dir))}; or give a .yaml, or overrides"
    )
