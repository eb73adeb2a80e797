"""From text to token ids: what a tokenizer adds by itself, and control tokens that somebody only wrote."""

import re
from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from tipx.errors import ModelError

STAND_INS = [chr(0xE000 + i) for i in range(0x1900)]
"""Signs of Unicode's private use area, one for each control token that a text spells."""


def encode_bare(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text, with nothing added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def find_prefix_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that the tokenizer puts before a text by itself: a beginning of sequence, or nothing."""
    whole, inner = list(tokenizer("a")["input_ids"]), encode_bare(tokenizer, "a")
    places = range(len(whole) - len(inner) + 1)
    return whole[: next((i for i in places if whole[i : i + len(inner)] == inner), 0)]


def add_prefix_ids(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """A prompt with what the tokenizer puts before it, once; what it would put behind it ends no prompt."""
    before = find_prefix_ids(tokenizer)
    return ids if ids[: len(before)] == before else before + ids


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The special tokens, longest first."""
    return _special_tokens(tokenizer, len(tokenizer))


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: PreTrainedTokenizerBase, _size: int) -> dict[str, int]:
    found = {added.content: i for i, added in tokenizer.added_tokens_decoder.items() if added.special}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def hide_special_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The texts with a sign in place of each control token that they spell, and which sign stands for which."""
    spelled = [mark for mark in special_tokens(tokenizer) if any(mark in text for text in texts)]
    free = (sign for sign in STAND_INS if not any(sign in text for text in texts))
    signs = dict(zip(free, spelled, strict=False))
    out = []
    for text in texts:
        for sign, mark in signs.items():
            text = text.replace(mark, sign)  # noqa: PLW2901
        out.append(text)
    return out, signs


def encode_rendered(tokenizer: PreTrainedTokenizerBase, rendered: str, signs: dict[str, str]) -> list[int]:
    """Ids of a rendering of disguised texts: what they spelled is plain text, what the template wrote is not."""
    if not signs:
        return encode_bare(tokenizer, rendered)
    known = special_tokens(tokenizer)
    ids: list[int] = []
    usual = ""
    for part in re.split(f"({'|'.join(map(re.escape, known))})", rendered):
        if not any(sign in part for sign in signs):
            usual += part
            continue
        text = "".join(signs.get(sign, sign) for sign in part)
        plain = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        if set(plain) & set(known.values()) - {tokenizer.unk_token_id}:
            marks = " or ".join(signs.values())
            raise ModelError(f"it spells {marks}, which this tokenizer cannot take as plain text; remove the row")
        ids += [*(encode_bare(tokenizer, usual) if usual else []), *plain]
        usual = ""
    return ids + (encode_bare(tokenizer, usual) if usual else [])
