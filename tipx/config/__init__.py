"""YAML and overrides to values and back; the only importer of hydra and omegaconf."""

from tipx.config.compose import (
    build,
    choices,
    conf_dir,
    describe,
    inherit,
    load,
    options,
    rebuild,
    resolved,
)
from tipx.config.grid import expand
from tipx.config.origins import origins
from tipx.config.trees import Tree
from tipx.identity import identity

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
]
