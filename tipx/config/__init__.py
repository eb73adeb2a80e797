"""YAML and overrides to values and back; the only importer of hydra and omegaconf."""

from tipx.config.compose import (
    asked,
    build,
    choices,
    composed,
    conf_dir,
    described,
    filled,
    from_environment,
    inherit,
    load,
    options,
    rebuild,
    resolved,
    search_path,
    stored,
)
from tipx.config.grid import check_points, expand, key_of
from tipx.config.launch import check_launcher, launch
from tipx.config.origins import origins
from tipx.config.rules import rules
from tipx.config.trees import Tree
from tipx.runs.identity import first_identity, identity

__all__ = [
    "Tree",
    "asked",
    "build",
    "check_launcher",
    "check_points",
    "choices",
    "composed",
    "conf_dir",
    "described",
    "expand",
    "filled",
    "first_identity",
    "from_environment",
    "identity",
    "inherit",
    "key_of",
    "launch",
    "load",
    "options",
    "origins",
    "rebuild",
    "resolved",
    "rules",
    "search_path",
    "stored",
]
