"""A whole configuration in a file, as `tipx show` prints it and a run stores it, to be trained as it is."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from tipx.config.compose import refuse_interpolation, refuse_strange_keys
from tipx.config.trees import leaf_keys, value_at
from tipx.errors import ConfigError
from tipx.files.yamls import read_yaml
from tipx.runs.identity import PLACE

WHOLE = "tipx.train.experiment.Experiment"
CODE = "trust_remote_code"


def load_saved(file: Path, words: Sequence[str]) -> DictConfig:
    """The configuration in `file`; of the place of its run, what `words` say as KEY=VALUE.

    Values in it are filled in already, so that a change of one changes no other: nothing but the place can be typed. A
    run without a name is called as the file. The file may be of others: what would come from the environment, and a
    permission to run code, are refused. Raises ConfigError.
    """
    tree = read_yaml(file, ConfigError, "give what `tipx show` prints")
    if tree.get("_target_") != WHOLE:
        raise ConfigError(
            f"{file}: expected a whole configuration, as `tipx show ... > FILE` writes it; parts go into --config-dir"
        )
    refuse_strange_keys(tree)
    if missing := sorted(set(PLACE) - tree.keys()):
        raise ConfigError(f"{file}: it has no {missing[0]}; give all that `tipx show` prints")
    for word in words:
        key, _, value = word.partition("=")
        if key not in PLACE:
            raise ConfigError(f"{word}: beside --config only {', '.join(PLACE)} may be typed; change {key} in {file}")
        tree[key] = yaml.safe_load(value) if value[:1] in ("'", '"') else value
    for key in leaf_keys(tree):
        refuse_interpolation(key, value_at(tree, key))
        if re.fullmatch(rf"(.*\.)?{CODE}", key) and value_at(tree, key):
            raise ConfigError(
                f"{file}: {key} is true, which runs code that comes with a model; write false, or train by overrides"
            )
    if tree["name"] is None:
        tree["name"] = file.stem
    return OmegaConf.create(tree)
