"""Which file, or which override, gave a value."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from tipx.config.compose import conf_dir, hydra_overrides, load, open_hydra
from tipx.config.trees import leaf_keys, value_at


def find_origins(overrides: Sequence[str], name: str = "train", config_dir: Path | None = None) -> dict[str, str]:
    """For every dotted key: the YAML file that set it last, or "command line". `overrides` must compose.

    A value that is another's, as `${ratio}`, reads "= ratio (command line)".
    """
    folders = {conf_dir(): "conf"} | ({config_dir: str(config_dir)} if config_dir else {})
    found: dict[str, str] = {}
    with open_hydra():
        loader = GlobalHydra.instance().config_loader()
        listing = loader.compute_defaults_list(name, hydra_overrides(overrides, config_dir), RunMode.RUN)
    for entry in listing.defaults:
        file = f"{entry.config_path}.yaml"
        folder = next((folder for folder in folders if (folder / file).exists()), None)
        if folder is not None:
            tree = OmegaConf.to_container(OmegaConf.load(folder / file), resolve=False)
            if isinstance(tree, dict):
                tree.pop("defaults", None)
            package = "" if entry.package in (None, "_global_") else str(entry.package)
            # A file over a section that another file began takes the place of what it sets, and of that only.
            found |= dict.fromkeys(leaf_keys(tree, package), f"{folders[folder]}/{file}")
    groups = set(listing.overrides.known_choices)
    for override in listing.config_overrides:
        if override.key_or_group not in groups:
            key = override.key_or_group
            found = {k: v for k, v in found.items() if not k.startswith(f"{key}.")} | {key: "command line"}
    raw = OmegaConf.to_container(load(overrides, name, config_dir), resolve=False)
    others = {key: re.fullmatch(r"\$\{([\w.]+)\}", str(value_at(raw, key))) for key in found}
    came = {
        key: f"= {other[1]}" + (f" ({found[other[1]]})" if other[1] in found else "")
        for key, other in others.items()
        if other
    }
    return found | came
