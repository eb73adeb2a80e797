"""The configuration as a table of keys, values and origins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tipx import config
from tipx.config.trees import at, leaves
from tipx.run import Run


def overrides_table(overrides: Sequence[str], config_dir: Path | None) -> Table:
    """What `tipx train` would run with these overrides, and which file or override gave each value."""
    tree = config.resolved(config.load(overrides, "train", config_dir))
    return table(tree, config.origins(overrides, "train", config_dir), f"tipx train {' '.join(overrides)}")


def run_table(run: Run) -> Table:
    """What a run was made with, as its config.yaml has it."""
    argv = run.provenance()["starts"][0]["argv"]
    came = config.origins([word for word in argv[2:] if "=" in word and not word.startswith("--")])
    return table(run.config(), came, str(run.path))


def table(tree: dict[str, Any], origins: dict[str, str], title: str) -> Table:
    """Every leaf of the configuration. A value under an interpolated section comes from where the section does."""
    out = Table("key", "value", "from", title=title, title_justify="left")
    for key in leaves(tree):
        source = next((origins[k] for k in upwards(key) if k in origins), "")
        style = "bold" if source == "command line" else None
        out.add_row(key, str(at(tree, key)).replace("[", r"\["), source, style=style)
    return out


def upwards(key: str) -> list[str]:
    """a.b.c, a.b, a."""
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
