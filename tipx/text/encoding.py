"""From text to token ids: the tokens that a tokenizer adds by itself, and texts that spell special tokens.

A user's text may contain the characters of a special token, such as `<|im_end|>`. They must become plain text. A chat
template also writes special tokens, which must stay special. In one rendered string both look the same. So
`hide_special_tokens` first replaces those in texts by private characters, then the template is rendered, and
`encode_rendered` turns the private characters back into plain text.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from tipx.errors import ModelError

STAND_INS = [chr(0xE000 + i) for i in range(0x1900)]
"""Characters of Unicode's private use area, one for each special token that a text spells."""


def encode_bare(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a text. No special token is added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def find_prefix_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the tokenizer puts before every text by itself: a beginning-of-sequence token, or none."""
    return [*_prefix_ids(tokenizer, len(tokenizer))]


@lru_cache(maxsize=4)
def _prefix_ids(tokenizer: PreTrainedTokenizerBase, _size: int) -> list[int]:
    whole, inner = list(tokenizer("a")["input_ids"]), encode_bare(tokenizer, "a")
    starts = range(len(whole) - len(inner) + 1)
    return whole[: next((i for i in starts if whole[i : i + len(inner)] == inner), 0)]


def add_prefix_ids(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """The prompt with the tokenizer's prefix, unless it is there already. A suffix is not added: the prompt goes on."""
    before = find_prefix_ids(tokenizer)
    return ids if ids[: len(before)] == before else before + ids


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The ids of the special tokens by their text. The longest text comes first."""
    return _special_tokens(tokenizer, len(tokenizer))


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: PreTrainedTokenizerBase, _size: int) -> dict[str, int]:
    ids = {added.content: i for i, added in tokenizer.added_tokens_decoder.items() if added.special}
    return dict(sorted(ids.items(), key=lambda item: -len(item[0])))


def hide_special_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Replace each special token that a text spells by a private character.

    Returns the texts and the special token that each private character stands for.
    """
    spelled = [token for token in special_tokens(tokenizer) if any(token in text for text in texts)]
    unused = (character for character in STAND_INS if not any(character in text for text in texts))
    stand_ins = dict(zip(unused, spelled, strict=False))
    hidden = []
    for text in texts:
        for character, token in stand_ins.items():
            text = text.replace(token, character)  # noqa: PLW2901
        hidden.append(text)
    return hidden, stand_ins


def encode_rendered(tokenizer: PreTrainedTokenizerBase, rendered: str, stand_ins: dict[str, str]) -> list[int]:
    """The ids of a rendered chat whose texts went through `hide_special_tokens`.

    Special tokens that the template wrote are special. Those that a text spelled become plain text. Raises ModelError
    if the tokenizer cannot split them into plain tokens.
    """
    if not stand_ins:
        return encode_bare(tokenizer, rendered)
    special = special_tokens(tokenizer)
    ids: list[int] = []
    waiting = ""  # parts without private characters are encoded together, as the tokenizer would by itself
    for part in re.split(f"({'|'.join(map(re.escape, special))})", rendered):
        if not any(character in part for character in stand_ins):
            waiting += part
            continue
        text = "".join(stand_ins.get(character, character) for character in part)
        plain = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        if set(plain) & set(special.values()) - {tokenizer.unk_token_id}:
            tokens = " or ".join(stand_ins.values())
            raise ModelError(f"it spells {tokens}, which this tokenizer cannot take as plain text; remove the row")
        ids += [*(encode_bare(tokenizer, waiting) if waiting else []), *plain]
        waiting = ""
    return ids + (encode_bare(tokenizer, waiting) if waiting else [])
