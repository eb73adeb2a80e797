"""Which token ids a tokenizer has."""

from transformers import PreTrainedTokenizerBase


def count_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows that a tokenizer needs: its ids may have gaps."""
    return max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What fills the places before a prompt: the tokenizer's own padding, or its end of sequence."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
