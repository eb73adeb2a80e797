"""YAML and overrides to values and back; the only importer of hydra and omegaconf."""

from tipx.config.compose import (
    build,
    choices,
    conf_dir,
    describe,
    identity,
    inherit,
    load,
    options,
    rebuild,
    resolved,
)
from tipx.config.grid import expand
from tipx.config.origins import origins
from tipx.config.rules import rules
from tipx.config.trees import Tree

__all__ = [
    "Tree",
    "build",
    "choices",
    "conf_dir",
    "describe",
    "expand",
    "identity",
    "inherit",
    "load",
    "options",
    "origins",
    "rebuild",
    "resolved",
    "rules",
]
