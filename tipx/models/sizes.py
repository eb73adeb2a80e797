"""Checks that a configuration fits the weights beside it, before anything of the configuration's size is allocated."""

import warnings

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tipx.files.untrusted import bounded_resources
from tipx.models.folder import CONFIG, BrokenModel, WeightCounts

MAX_RATIO = 1.5
"""A configuration may describe this many times the elements on disk. Loading later names the missing weights."""
SLACK_ELEMENTS = 2**24
"""More elements are always allowed: a tiny model may have a table of positions that is not saved."""
SECONDS, MEMORY = 120.0, 2**32
SIZE_NAMES = ("vocab_size", "hidden_size", "num_hidden_layers")


def check_sizes(config: PreTrainedConfig, there: WeightCounts | None, *, code: bool) -> None:
    """Raises BrokenModel if the configuration describes a far larger model than the weights on disk, or no model.

    Arithmetic comes first, so that nothing absurd is built. Then the model is built without memory for its weights. If
    `there` is None (a model of the hub that is not downloaded yet), only the second check is made.
    """
    text = config.get_text_config()
    sizes = {name: getattr(text, name, None) for name in SIZE_NAMES}
    for name, value in sizes.items():
        if value is not None and (type(value) is not int or value < 1):
            raise BrokenModel(f"{CONFIG}: {name} is {value!r:.40}, expected a whole number above 0")
    if there is not None:
        vocab, hidden, layers = (value or 1 for value in sizes.values())
        if there.tensors is not None and layers > there.tensors:
            raise BrokenModel(f"{CONFIG}: num_hidden_layers is {layers}, but the weights are {there.tensors} tensors")
        check_upper_bounds(
            there, {"vocab_size x hidden_size": vocab * hidden, "num_hidden_layers x hidden_size": layers * hidden}
        )
        check_upper_bounds(there, {name: value for name, value in text.to_dict().items() if is_width(name, value)})
    described = count_elements(config, code=code)
    if there is not None:
        check_upper_bounds(there, {"a model of its sizes, in numbers,": described})


def is_width(name: str, value: object) -> bool:
    """Whether a setting is a size of a tensor. Context lengths and thresholds are not."""
    return type(value) is int and name.endswith(("_size", "_dim", "experts", "heads", "_rank", "_inner", "_embd"))


def check_upper_bounds(there: WeightCounts, least: dict[str, int]) -> None:
    """Raises BrokenModel for a value of `least` that is larger than the weights on disk allow."""
    most = int(MAX_RATIO * there.elements) + SLACK_ELEMENTS
    for name, value in least.items():
        if value > most:
            raise BrokenModel(
                f"{CONFIG}: {name} is {value}, and the weights on disk hold {there.elements} numbers: it is not the "
                "configuration of these weights"
            )


def count_elements(config: PreTrainedConfig, *, code: bool) -> int:
    """The number of elements that a model of this configuration keeps in memory, tied ones once, buffers included.

    Raises BrokenModel for a model that does not continue a text.
    """
    with warnings.catch_warnings(), bounded_resources(SECONDS, MEMORY), torch.device("meta"):
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=code)
    for name, weight in model.named_parameters():
        if not weight.numel():
            raise BrokenModel(f"{CONFIG}: {name} would be of shape {tuple(weight.shape)}, which holds nothing")
    if model.config.is_encoder_decoder:
        raise BrokenModel(
            f"{CONFIG}: it is an encoder with a decoder; tipx needs a model that continues a text (decoder only)"
        )
    return sum(tensor.numel() for kind in (model.parameters(), model.buffers()) for tensor in kind)
