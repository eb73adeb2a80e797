"""The frame of both word-level tokenizers: one id for a word, one for a digit, and blanks between words for none.

Decoding joins tokens by one blank, and digits that follow each other by none, so that a number comes out in one piece.
A number is split again wherever its digits came from, so ``encode(decode(ids)) == ids`` for ids that are no special
tokens. `<unk>` never stands in a family's own text; it does in foreign text, so that a caller can tell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD = "<pad>"
UNK = "<unk>"
MAX_LENGTH = 256  # positions the embedded models know: prompt and response together


def number_tokens(tokens: Sequence[str]) -> dict[str, int]:
    """Return token -> id: ids count from 0 in the order of the tokens, and a token that comes again keeps its first."""
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def build_word_tokenizer(
    vocabulary: Mapping[str, int],
    splitter: pre_tokenizers.PreTokenizer,
    eos: str,
    without_blanks: Sequence[str] = (),
    **more: Any,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with padding on the left, as generation needs.

    `splitter` cuts a text into tokens. `without_blanks` are regular expressions of blanks that decoding leaves out,
    besides those between digits. `more` goes to transformers: other special tokens, a chat template.
    """
    tokenizer = Tokenizer(models.WordLevel(dict(vocabulary), unk_token=UNK))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Sequence(
        [
            # Puts a blank before every token but the first; no token starts with its continuation mark "##".
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            *(decoders.Replace(Regex(blank), "") for blank in (r"(?<=\d) (?=\d)", *without_blanks)),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=eos,
        unk_token=UNK,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        **more,
    )
