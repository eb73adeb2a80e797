"""Composing `conf/`, building what it describes, and naming which run that is."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from tipx.config.construct import allowed_packages, construct
from tipx.config.explain import explain_composition
from tipx.config.folder import check_folder
from tipx.config.trees import Tree, leaf_keys, value_at
from tipx.config.typed import check_typed
from tipx.errors import ConfigError
from tipx.files.package_data import package_folder
from tipx.files.yamls import first_comment
from tipx.runs.identity import PLACE

ASKED = "asked"
"""Where a benchmark names choices of other groups: how `tipx eval` asks a model folder. No part of what is built."""
SYNTAX = "expected KEY=VALUE, or KEY='\"a b, c\"' when the value holds spaces, commas or other marks"


def conf_dir() -> Path:
    """The shipped `conf/`."""
    return package_folder("conf")


@contextmanager
def open_hydra() -> Iterator[Any]:
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
    return compose_with_choices(overrides, name, config_dir)[0]


def compose_with_choices(
    overrides: Sequence[str], name: str = "train", config_dir: Path | None = None
) -> tuple[DictConfig, dict[str, str]]:
    """What `load` gives, and which file each config group took, e.g. {"model": "tiny", "selector/pick": "topk"}."""
    cfg, took = compose_all(overrides, name, config_dir)
    drop_asked(cfg)
    return cfg, took


def compose_all(overrides: Sequence[str], name: str, config_dir: Path | None) -> tuple[DictConfig, dict[str, str]]:
    """What `composed` gives, with what benchmarks say of how they are asked."""
    typed = hydra_overrides(overrides, config_dir)
    try:
        with open_hydra():
            cfg = compose(name, typed, return_hydra_config=True)
    except OverrideParseException as error:
        raise ConfigError(f"cannot read {error.override!r}; {SYNTAX}") from error
    except ValueError as error:  # a config group set to something that is not a name
        raise ConfigError(f"{' '.join(overrides)}: {error}; {SYNTAX}") from error
    except (HydraException, OmegaConfBaseException) as error:
        with open_hydra():
            keys = leaf_keys(OmegaConf.to_container(compose(name), resolve=False))
        raise ConfigError(explain_composition(str(error), keys, lambda group: options(group, config_dir))) from error
    took = {str(group): str(choice) for group, choice in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, {group: choice for group, choice in took.items() if not group.startswith("hydra/")}


def drop_asked(cfg: DictConfig) -> None:
    """Remove what benchmarks say of how they are asked."""
    with open_dict(cfg):
        cfg.pop(ASKED, None)
        for section in ("benchmark", "guard"):
            drop_key(cfg.get(section), ASKED)


def drop_key(section: Any, key: str) -> None:
    """Remove a key wherever it is in a section."""
    if isinstance(section, DictConfig):
        section.pop(key, None)
        for name in section:
            drop_key(None if OmegaConf.is_missing(section, name) else section[name], key)


def with_benchmark_choices(overrides: Sequence[str], config_dir: Path | None = None) -> list[str]:
    """Overrides of `tipx eval`, and before them the choices that the benchmark, or else `conf/eval.yaml`, makes.

    A group that is typed keeps what is typed. Raises ConfigError.
    """
    cfg, _ = compose_all(overrides, "eval", config_dir)
    own = cfg.benchmark.get(ASKED, cfg[ASKED])
    chosen: Any = OmegaConf.to_container(own) if isinstance(own, DictConfig) else None
    if not isinstance(chosen, dict) or not all(isinstance(choice, str) for choice in chosen.values()):
        raise ConfigError(
            f"benchmark.{ASKED}: expected choices, as {{eval: sampled_long, template: boxed}}, got {own!r}; mend it"
        )
    typed = {override.lstrip("+~/").split("=")[0] for override in overrides}
    return [*(f"{group}={choice}" for group, choice in chosen.items() if group not in typed), *overrides]


def hydra_overrides(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    """What Hydra is told; raises ConfigError if there is no folder `config_dir`.

    `+experiment=X`, which most Hydra projects want, is `experiment=X`: here the group has a place already.
    """
    for override in overrides:
        check_typed(override)
    plain = [override.removeprefix("+") if override.startswith("+experiment=") else override for override in overrides]
    return [*search_path(config_dir), *plain]


def build(cfg: DictConfig, config_dir: Path | None = None) -> Any:
    """Make the spec of every `_target_`; raises ConfigError naming the key, what was expected, and what came.

    `config_dir` is the folder that the user gave on this command line, whose packages are trusted.
    """
    return build_resolved(cfg, resolve(cfg), config_dir)


def build_resolved(cfg: DictConfig, tree: Tree, config_dir: Path | None = None) -> Any:
    """The same where `tree`, what `resolve` gives of `cfg`, is there already."""
    return construct(without_place(tree), allowed_packages(config_dir), OmegaConf.to_container(cfg, resolve=False))


def without_place(tree: Tree) -> Tree:
    """Without the keys that say where a run goes, which are no part of what is made."""
    return {key: value for key, value in tree.items() if key not in PLACE}


def resolve(cfg: DictConfig) -> Tree:
    """Plain containers with every interpolation filled in; raises ConfigError for a value that is still `???`."""
    try:
        for key in sorted(OmegaConf.missing_keys(cfg)):
            raise ConfigError(f"{key}: a value is required; give it as {key}=VALUE")
        tree: Tree = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        key = error.full_key or "config"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}; give it as {key}=VALUE") from error
    return tree


def resolve_for_storage(cfg: DictConfig) -> Tree:
    """`resolved`, to be written to files: text from the environment, which may be a key or a password, stays unread.

    What is a number there is no secret, and a run is told by its seed: that is stored as the number.
    """
    OmegaConf.register_new_resolver("oc.env", keep_interpolation, replace=True)
    try:
        kept = resolve(cfg)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    return with_numbers(kept, resolve(cfg))


def environment_texts(cfg: DictConfig) -> dict[str, str]:
    """Every text that a value has from the environment, with the text that is stored for it."""
    kept, read = resolve_for_storage(cfg), resolve(cfg)
    pairs = [(value_at(read, key), value_at(kept, key)) for key in leaf_keys(read)]
    return {one: other for one, other in pairs if isinstance(one, str) and isinstance(other, str) and one != other}


def keep_interpolation(*words: str) -> str:
    """The interpolation that asks for a variable of the environment."""
    return f"${{oc.env:{','.join(words)}}}"


def with_numbers(kept: Any, read: Any) -> Any:
    """`kept`, with the numbers that `read` has where `kept` has text that was not read."""
    if isinstance(kept, dict):
        return {key: with_numbers(value, read[key]) for key, value in kept.items()}
    if isinstance(kept, list):
        return [with_numbers(value, one) for value, one in zip(kept, read, strict=True)]
    number = isinstance(read, str) and re.fullmatch(r"-?\d{1,18}|-?\d*\.\d+(e-?\d+)?", read)
    return yaml.safe_load(read) if number and kept != read else kept


def rebuild(tree: Tree, config_dir: Path | None = None) -> Any:
    """What a stored configuration, or a part of it, describes; raises ConfigError, as `build` does."""
    return construct(without_place(tree), allowed_packages(config_dir), tree)


def inherit(cfg: DictConfig, values: Tree, overrides: Sequence[str]) -> None:
    """Set `values` in `cfg`, except the keys that `overrides` set themselves.

    Where an object's class is another one, nothing stays of what `cfg` has there but what `overrides` set.
    """
    given = {override.lstrip("+~").split("=")[0].split("@")[-1] for override in overrides}
    refuse_strange_keys(values)
    for kind in [key for key in leaf_keys(values) if key.endswith("._target_")]:
        key = kind.removesuffix("._target_")
        if OmegaConf.select(cfg, kind) != value_at(values, kind) and not any(
            f"{key}.".startswith(f"{g}.") for g in given
        ):
            asked = {g: OmegaConf.select(cfg, g) for g in given if g.startswith(f"{key}.")}
            OmegaConf.update(cfg, key, value_at(values, key), merge=False, force_add=True)
            for name, own in asked.items():
                OmegaConf.update(cfg, name, own, force_add=True)
    for key in leaf_keys(values):
        if not any(key == g or key.startswith(f"{g}.") for g in given):
            refuse_interpolation(key, value_at(values, key))
    for key in leaf_keys(values):
        if not any(key == g or key.startswith(f"{g}.") for g in given):
            value: Any = values
            for part in key.split("."):
                value = value[part]
            OmegaConf.update(cfg, key, value, force_add=True)


def refuse_strange_keys(values: Any) -> None:
    """Raises ConfigError for stored keys that cannot be told by dots."""
    if isinstance(values, dict):
        for key, value in values.items():
            if not isinstance(key, str) or not re.fullmatch(r"\w+", key):
                raise ConfigError(
                    f"the run's configuration has the key {key!r:.80}, which tipx has not; train it again"
                )
            refuse_strange_keys(value)


def refuse_interpolation(key: str, value: Any) -> None:
    """Raises ConfigError for stored text that would be filled in here, from this user's environment."""
    if isinstance(value, list):
        for one in value:
            refuse_interpolation(key, one)
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{key}: the run has {value!r} there, which is not filled in; give it as {key}=VALUE")


def choices(overrides: Sequence[str], name: str = "train", config_dir: Path | None = None) -> dict[str, str]:
    """Which file each config group took; raises ConfigError."""
    return compose_with_choices(overrides, name, config_dir)[1]


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """Names that a config group offers; those with a leading underscore are parts of others."""
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    found = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    return sorted(name for name in found if not name.startswith("_"))


def describe_choices(group: str, config_dir: Path | None = None) -> dict[str, str]:
    """Names that a config group offers, each with a line on it."""
    return {name: describe(group, name, config_dir) for name in options(group, config_dir)}


def describe(group: str, option: str, config_dir: Path | None = None) -> str:
    """The first comment line of an option's file, its description."""
    for folder in [conf_dir(), *([config_dir] if config_dir else [])]:
        path = folder / group / f"{option}.yaml"
        if path.exists():
            return first_comment(path)
    return ""
