r"""The tokenizer of the word problems: special tokens, digits, and the words of the task.

Text is split at blanks and numbers are split into digits, so that a response decodes to ``\boxed{ 17 }`` and can be
graded. There is no chat template: a prompt is the question itself.
"""

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tipx.embedded.arithmetic.family import words
from tipx.embedded.tokenizer import PAD, UNK, build_word_tokenizer, number_tokens

EOS = "<eos>"


def vocabulary() -> dict[str, int]:
    """Return token -> id, ids counting from 0: the special tokens, the ten digits, then the words of the task."""
    return number_tokens((PAD, EOS, UNK, *"0123456789", *words()))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the word problems."""
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    return build_word_tokenizer(vocabulary(), splitter, EOS)
