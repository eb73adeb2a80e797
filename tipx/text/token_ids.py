"""The token ids of a tokenizer."""

from transformers import PreTrainedTokenizerBase


def count_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of embedding rows that a tokenizer needs. It may be larger than len(tokenizer): ids may have gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that pads a prompt: the tokenizer's padding token, or its end-of-sequence token."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
