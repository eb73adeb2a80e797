"""The shape of a model, without its weights and without the network."""

from pathlib import Path
from typing import Any

import yaml
from transformers import AutoConfig, PretrainedConfig

from tipx.errors import ModelError
from tipx.models.locate import EMBEDDED, find_model_folder, guard_model_loading, resolve_model_path
from tipx.models.pair import ModelSource
from tipx.models.pruning import select_layers
from tipx.models.sizes import check_sizes

TABLE = Path(__file__).parent / "architectures.yaml"
PER_LAYER = ("layer_types", "mlp_layer_types")


def load_architecture(role: str, source: ModelSource) -> PretrainedConfig:
    """The config of a folder, a package, the hub's cache, or the table, with the layers kept; raises ModelError."""
    found = full_config(role, source)
    if source.keep_layers is None:
        return found
    key = f"model.{role}.keep_layers"
    return with_layers(found, len(select_layers(source.keep_layers, found.get_text_config().num_hidden_layers, key)))


def full_config(role: str, source: ModelSource) -> PretrainedConfig:
    """With all its layers."""
    key = f"model.{role}.path"
    folder = find_model_folder(resolve_model_path(source.path, None, key), source.revision)
    if folder is not None:
        code = source.trust_remote_code
        with guard_model_loading(key, str(folder), code=code) as located:
            config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=code)
            check_sizes(config, located.weight_counts, code=code)
            return config
    known: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text())
    if source.path in known:
        return AutoConfig.for_model(**known[source.path])
    if source.path.startswith((EMBEDDED, "/", ".", "~")):
        raise ModelError(
            f"model.{role}.path: no such folder: {source.path!r}; give one that holds a config.json, or a hub id"
        )
    raise ModelError(
        f"model.{role}.path: the sizes of {source.path!r} are not known here: expected a folder with a config.json, an "
        f"id in the hub's cache (`hf download {source.path} config.json`), or one of {', '.join(sorted(known))}"
    )


def with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """The same model with its first `layers` layers only."""
    tree = config.to_dict()
    tree["num_hidden_layers"] = layers
    for key in PER_LAYER:
        if tree.get(key):
            tree[key] = tree[key][:layers]
    return type(config).from_dict(tree)
