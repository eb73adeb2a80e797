"""Text of others in Markdown: shown as it is, whatever it holds."""

import re

from tipx.display.console import clean_text

BEFORE_MARK = re.compile(r"\\+(?=[|`*<\]~]|$)")
MARKS = (
    (re.compile(r"([|`*])"), r"\\\1"),
    (re.compile(r"<(?=[A-Za-z/!?])"), r"\\<"),  # a tag or a link; "p < 0.05" is neither
    (re.compile(r"\](?=[(:\[])"), r"\\]"),  # links, pictures and definitions
    (re.compile(r"~(?=~)"), r"\\~"),
    (re.compile(r"^(#{1,6}(?=\s|$)|[-+](?=\s)|>)"), r"\\\1"),  # what only begins a line
)


def escape_markdown(text: str) -> str:
    """One line of Markdown that shows `text`: no table cell, tag, link or heading begins or ends in it."""
    line = clean_text(" ".join(text.split("\n"))).replace("\t", " ")
    line = BEFORE_MARK.sub(lambda found: 2 * found[0], line)
    for pattern, by in MARKS:
        line = pattern.sub(by, line)
    return line
