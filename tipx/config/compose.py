"""Composing `conf/`, building what it describes, and naming which run that is."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from tipx.config.explain import explain, explain_values
from tipx.config.folder import check_folder
from tipx.config.trees import Tree, at, leaves
from tipx.config.typed import check_typed
from tipx.errors import ConfigError, TipxError
from tipx.identity import PLACE
from tipx.shipped import shipped
from tipx.yamls import first_comment

SYNTAX = "expected KEY=VALUE, or KEY='\"a b, c\"' when the value holds spaces, commas or other marks"


def conf_dir() -> Path:
    """The shipped `conf/`."""
    return shipped("conf")


@contextmanager
def hydra() -> Iterator[Any]:
    """Hydra's Compose API over the shipped `conf/`; gives its `Hydra` object, which also runs jobs."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().hydra


def search_path(config_dir: Path | None) -> list[str]:
    """The override that adds a user's own folder of YAML; raises ConfigError if there is no such folder."""
    if config_dir is None:
        return []
    if not config_dir.is_dir():
        raise ConfigError(f"--config-dir: {config_dir} is not a folder; give one laid out like conf/")
    check_folder(config_dir)
    quoted = str(config_dir.resolve()).replace("'", r"\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def load(overrides: Sequence[str], name: str = "train", config_dir: Path | None = None) -> DictConfig:
    """Compose `conf/<name>.yaml` with Hydra overrides; raises ConfigError with the nearest valid choices."""
    return composed(overrides, name, config_dir)[0]


def composed(
    overrides: Sequence[str], name: str = "train", config_dir: Path | None = None
) -> tuple[DictConfig, dict[str, str]]:
    """What `load` gives, and which file each config group took, e.g. {"model": "tiny", "selector/pick": "topk"}."""
    typed = words(overrides, config_dir)
    try:
        with hydra():
            cfg = compose(name, typed, return_hydra_config=True)
    except OverrideParseException as error:
        raise ConfigError(f"cannot read {error.override!r}; {SYNTAX}") from error
    except ValueError as error:  # a config group set to something that is not a name
        raise ConfigError(f"{' '.join(overrides)}: {error}; {SYNTAX}") from error
    except (HydraException, OmegaConfBaseException) as error:
        with hydra():
            keys = leaves(OmegaConf.to_container(compose(name), resolve=False))
        raise ConfigError(explain(str(error), keys, lambda group: options(group, config_dir))) from error
    took = {str(group): str(choice) for group, choice in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, {group: choice for group, choice in took.items() if not group.startswith("hydra/")}


def words(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    """What Hydra is told; raises ConfigError if there is no folder `config_dir`.

    `+experiment=X`, which most Hydra projects want, is `experiment=X`: here the group has a place already.
    """
    for override in overrides:
        check_typed(override)
    plain = [override.removeprefix("+") if override.startswith("+experiment=") else override for override in overrides]
    return [*search_path(config_dir), *plain]


def build(cfg: DictConfig) -> Any:
    """Instantiate every `_target_`; raises ConfigError naming the key, what was expected, and what came."""
    try:
        tree = {key: value for key, value in resolved(cfg).items() if key not in PLACE}
        return instantiate(tree, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, TipxError):
            raise cause from error
        full_key = re.search(r"full_key: (\S+)", str(error))
        key = full_key.group(1) if full_key else ""
        if isinstance(cause, ValidationError):
            raw = OmegaConf.to_container(cfg, resolve=False)
            raise ConfigError(explain_values(cause, key, raw)) from error
        raise ConfigError(f"{key or 'config'}: {str(error).splitlines()[0]}") from error
    except OmegaConfBaseException as error:
        key = error.full_key or "config"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}; give it as {key}=VALUE") from error


def resolved(cfg: DictConfig) -> Tree:
    """Plain containers with every interpolation filled in; raises ConfigError for a value that is still `???`."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ConfigError(f"{key}: a value is required; give it as {key}=VALUE")
    tree: Tree = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return tree


def rebuild(tree: Tree) -> Any:
    """The object a resolved config describes."""
    return build(OmegaConf.create(tree))


def inherit(cfg: DictConfig, values: Tree, overrides: Sequence[str]) -> None:
    """Set `values` in `cfg`, except the keys that `overrides` set themselves.

    Where an object's class is another one, nothing stays of what `cfg` has there but what `overrides` set.
    """
    given = {override.lstrip("+~").split("=")[0].split("@")[-1] for override in overrides}
    for kind in [key for key in leaves(values) if key.endswith("._target_")]:
        key = kind.removesuffix("._target_")
        if OmegaConf.select(cfg, kind) != at(values, kind) and not any(f"{key}.".startswith(f"{g}.") for g in given):
            asked = {g: OmegaConf.select(cfg, g) for g in given if g.startswith(f"{key}.")}
            OmegaConf.update(cfg, key, at(values, key), merge=False, force_add=True)
            for name, own in asked.items():
                OmegaConf.update(cfg, name, own, force_add=True)
    for key in leaves(values):
        if not any(key == g or key.startswith(f"{g}.") for g in given):
            value: Any = values
            for part in key.split("."):
                value = value[part]
            OmegaConf.update(cfg, key, value, force_add=True)


def choices(overrides: Sequence[str], name: str = "train", config_dir: Path | None = None) -> dict[str, str]:
    """Which file each config group took; raises ConfigError."""
    return composed(overrides, name, config_dir)[1]


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that a config group offers; those with a leading underscore are parts of others."""
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    found = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted(name for name in found if not name.startswith("_"))


def describe(group: str, option: str, config_dir: Path | None = None) -> str:
    """The first comment line of an option's file, its description."""
    for folder in [conf_dir(), *([config_dir] if config_dir else [])]:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            return first_comment(path)
    return ""
