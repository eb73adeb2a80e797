"""Hydra's launcher plugins, driven without `hydra.main`: `hydra/launcher=basic|joblib|submitit_local|ray|...`."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from tipx.config.compose import open_hydra, search_path
from tipx.cores import count_cores, share_with_jobs
from tipx.errors import ConfigError

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Which extra of tipx brings a launcher."""


def launch(
    task: Callable[[Any], None], runs: Sequence[str], folder: Path, settings: Sequence[str], config_dir: Path | None
) -> None:
    """Call `task` with `conf/launch.yaml` for each of `runs`, wherever the launcher runs things; returns at their end.

    `settings` are overrides of Hydra's own: `hydra/launcher=joblib`, `hydra.launcher.n_jobs=4`. `task` must be
    importable and write down how it went: what it raises stops nothing else, but comes out of here as it is.
    """
    names = ",".join(quote_value(run) for run in runs)
    places = [f"folder={quote_value(str(folder))}", f"cwd={quote_value(str(Path.cwd()))}"]
    places += [f"config_dir={quote_value(str(config_dir.absolute()))}"] if config_dir else []
    words = [*search_path(config_dir), *settings, *places]
    with open_hydra() as own:
        chosen = own.compose_config("launch", words, RunMode.MULTIRUN).hydra.launcher
        with share_with_jobs(count_jobs(chosen, len(runs))):
            own.multirun("launch", task, [*words, f"run={names}"])


def count_jobs(launcher: Any, points: int) -> int:
    """How many of the points a launcher runs on one machine at the same time."""
    name = str(launcher.get("_target_")).lower()
    if "joblib" in name:
        jobs = int(launcher.get("n_jobs") or 1)  # -1 is as many as there are cores, -2 one less
        return max(1, min(points, jobs if jobs > 0 else count_cores() + 1 + jobs))
    # submitit starts all at once. Slurm and ray give each job cores of its own; `basic` does one after another.
    return points if "locallauncher" in name else 1


def check_launcher(settings: Sequence[str], config_dir: Path | None) -> None:
    """Raises ConfigError for settings that Hydra does not know, and for Slurm where there is none."""
    words = [*search_path(config_dir), *settings, "folder=.", "cwd=."]
    with open_hydra() as own:
        try:
            chosen = own.compose_config("launch", words, RunMode.MULTIRUN).hydra.launcher
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain_launcher_error(str(error), settings)) from error
    if "slurm" in str(chosen.get("_target_")).lower() and shutil.which("sbatch") is None:
        raise ConfigError("hydra/launcher=submitit_slurm: no sbatch here; type it on a node of the cluster")


def quote_value(text: str) -> str:
    """As one value in Hydra's grammar, whatever is in it."""
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", r"\'") + "'"


def explain_launcher_error(message: str, settings: Sequence[str]) -> str:
    """One line for settings that Hydra refuses."""
    chosen = next((s.split("=", 1)[1] for s in settings if s.startswith("hydra/launcher=")), "basic")
    first = message.splitlines()[0]
    if "hydra/launcher" not in message or "Could not" not in first:
        return f"{' '.join(settings)}: {first}"
    known = f"there are basic, {', '.join(EXTRAS)}"
    if chosen in EXTRAS:
        return f"hydra/launcher={chosen}: its plugin is not installed; pip install 'tipx[{EXTRAS[chosen]}]'"
    return f"hydra/launcher={chosen}: no such launcher; {known}"
