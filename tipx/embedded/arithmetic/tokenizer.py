r"""The word-level tokenizer of the toy task: one id per word, one per digit, and three special tokens.

The task's own text never meets `<unk>`; foreign text does, so that a caller can tell (`tokenizer.unk_token_id in ids`).
Text is split at blanks and numbers are split into digits. Decoding undoes both: words are joined by one blank, digits
that follow each other by none, so a response reads ``\boxed{ 17 }`` and can be graded. ``encode(decode(ids)) == ids``
for any ids but the special ones, because a number is split again wherever its digits came from.
"""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tipx.embedded.arithmetic.task import words

PAD = "<pad>"
EOS = "<eos>"
UNK = "<unk>"
MAX_LENGTH = 256  # positions the embedded models know: prompt and response together


def vocabulary() -> dict[str, int]:
    """Return token -> id, ids counting from 0: the special tokens, the ten digits, then the words of the task."""
    return {token: index for index, token in enumerate((PAD, EOS, UNK, *"0123456789", *words()))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer, with padding on the left, as generation needs."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            # Puts a blank before every token but the first; no token starts with its continuation mark "##".
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\d) (?=\d)"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        padding_side="left",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
