"""Composing many lists of overrides that differ in few choices: the points of a sweep."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tipx.config.compose import compose_all, compose_with_choices, conf_dir, drop_asked
from tipx.config.grid import parse_override
from tipx.errors import ConfigError


class Composer:
    """Gives what `compose_with_choices` gives of `conf/train.yaml`, and has Hydra compose each choice of groups once.

    Hydra puts files together by the overrides of config groups alone. Then it sets values, in the order typed, by
    `OmegaConf.update`; interpolations are filled in later. So a list whose other overrides are all plain, KEY=VALUE of
    a key that is no group, is the tree of its groups with these values set. Every other list is composed as a whole,
    and so is one that fails, for its error. The files are those of the first time that a choice comes.
    """

    def __init__(self, config_dir: Path | None = None) -> None:
        self.config_dir = config_dir
        self._folders = [conf_dir(), *([config_dir] if config_dir else [])]
        self._parsed: dict[str, Override] = {}
        self._trees: dict[tuple[str, ...], tuple[DictConfig, dict[str, str]]] = {}

    def compose(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        """The configuration, and which file each config group took; raises ConfigError."""
        try:
            return self._set_values(overrides)
        except (ConfigError, OmegaConfBaseException, NotPlainError):
            return compose_with_choices(overrides, "train", self.config_dir)

    def _set_values(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        groups, values = [], []
        for override in overrides:
            parsed = self._parse(override)
            if self._is_group(parsed):
                groups.append(override)
            elif is_plain(parsed):
                values.append(parsed)
            else:
                raise NotPlainError
        if tuple(groups) not in self._trees:
            self._trees[tuple(groups)] = compose_all(groups, "train", self.config_dir)
        tree, took = self._trees[tuple(groups)]
        cfg = deepcopy(tree)
        for value in values:
            OmegaConf.update(cfg, value.key_or_group, value.value(), merge=True)
        drop_asked(cfg)
        return cfg, dict(took)

    def _parse(self, override: str) -> Override:
        """One override, as Hydra reads it; each once."""
        if override not in self._parsed:
            plain = override.removeprefix("+") if override.startswith("+experiment=") else override
            self._parsed[override] = parse_override(plain)
        return self._parsed[override]

    def _is_group(self, override: Override) -> bool:
        """Whether it says which file a config group takes."""
        there = any((folder / override.key_or_group).is_dir() for folder in self._folders)
        return there and not isinstance(override.value(), dict) and not override.is_sweep_override()


class NotPlainError(Exception):
    """An override that does more than set the value of a key."""


def is_plain(override: Override) -> bool:
    """Whether it sets the value of a key that is there, and does nothing else."""
    sets = not (override.is_delete() or override.is_add() or override.is_force_add() or override.is_sweep_override())
    own = not override.is_hydra_override() and override.package is None
    return sets and own and not isinstance(override.value(), dict)
