"""The configuration as a table of keys, values and origins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tipx import config
from tipx.config.trees import leaf_keys, value_at
from tipx.errors import ConfigError
from tipx.runs.find import need_run
from tipx.runs.reader import StoredRun


def overrides_table(overrides: Sequence[str], config_dir: Path | None) -> Table:
    """What `tipx train` would run with these overrides, and which file or override gave each value."""
    tree = config.resolve(config.load(overrides, "train", config_dir))
    return table(tree, config.find_origins(overrides, "train", config_dir), f"tipx train {' '.join(overrides)}")


def the_run(words: Sequence[str], runs_dir: Path) -> StoredRun | None:
    """The run that one word names; None for overrides, RunError for a word that is neither."""
    if len(words) != 1 or "=" in words[0] or words[0].startswith("~"):
        return None
    return StoredRun(need_run(words[0], runs_dir, also=" and no KEY=VALUE"))


def run_table(run: StoredRun, config_dir: Path | None) -> Table:
    """What a run was made with, as its config.yaml has it; no origins if the YAML is no longer what it was then."""
    argv = run.starts[0].get("argv", []) if run.starts else []
    overrides = [word for word in argv[2:] if "=" in word and not word.startswith("--")]
    try:
        config.load(overrides, "train", config_dir)
        came = config.find_origins(overrides, "train", config_dir)
    except ConfigError:
        came = {}
    return table(run.tree, came, str(run.path))


def table(tree: dict[str, Any], origins: dict[str, str], title: str) -> Table:
    """Every leaf of the configuration. A value under an interpolated section comes from where the section does."""
    out = Table(title=title, title_justify="left")
    out.add_column("key", no_wrap=True)
    for name in ("value", "from"):
        out.add_column(name, overflow="fold")  # nothing is cut off, however narrow the terminal
    for key in leaf_keys(tree):
        source = next((origins[k] for k in upwards(key) if k in origins), "")
        style = "bold" if "command line" in source else None
        out.add_row(key, str(value_at(tree, key)), source, style=style)
    return out


def upwards(key: str) -> list[str]:
    """a.b.c, a.b, a."""
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
