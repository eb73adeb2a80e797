"""Token text that is safe to look at: what is invisible, or would command a terminal, is named instead.

`visible` in text.js does the same.
"""

import re

NAMES = {"\n": "↵", "\t": "⇥", "\x7f": "␡"}
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
    "|[\U000e0000-\U000e0fff]"
)


def visible(text: str, blank: str = " ") -> str:
    """Control, format and surrogate characters by a symbol or their number; nothing at all is ∅."""
    return HIDDEN.sub(lambda found: symbol(found[0]), text).replace(" ", blank) or "∅"


def symbol(character: str) -> str:
    if character in NAMES:
        return NAMES[character]
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"
