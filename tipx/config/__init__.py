"""YAML and overrides to values and back; the only importer of hydra and omegaconf."""

from tipx.config.compose import (
    build,
    build_resolved,
    choices,
    compose_with_choices,
    conf_dir,
    describe_choices,
    environment_texts,
    inherit,
    load,
    options,
    rebuild,
    resolve,
    resolve_for_storage,
    search_path,
    with_benchmark_choices,
)
from tipx.config.grid import check_points, expand_overrides, key_of
from tipx.config.launch import check_launcher, launch
from tipx.config.lookup import look_up
from tipx.config.many import Composer
from tipx.config.origins import find_origins
from tipx.config.rules import build_rules
from tipx.config.saved import load_saved
from tipx.config.trees import Tree

__all__ = [
    "Composer",
    "Tree",
    "build",
    "build_resolved",
    "build_rules",
    "check_launcher",
    "check_points",
    "choices",
    "compose_with_choices",
    "conf_dir",
    "describe_choices",
    "environment_texts",
    "expand_overrides",
    "find_origins",
    "inherit",
    "key_of",
    "launch",
    "load",
    "load_saved",
    "look_up",
    "options",
    "rebuild",
    "resolve",
    "resolve_for_storage",
    "search_path",
    "with_benchmark_choices",
]
