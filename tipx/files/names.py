"""Names and paths as a user types them: what a file system takes, and what is a slip."""

NAME_BYTES = 255
"""Of one file or folder, on every common file system."""
PATH_BYTES = 3500
"""Of a whole path, with room for what is made below it."""
FOLDER_BYTES = 150
"""Of a name that others are made of: `.NAME.tmp`, `NAME.jsonl.lock`."""


def wrong_path(path: str) -> str | None:
    """What is wrong with a path, whether or not there is something; None for a good one."""
    if not path.strip():
        return f"expected a path, got {path!r}"
    return wrong_text(path) or too_long(path)


def wrong_name(name: str) -> str | None:
    """What is wrong with the name of one new folder; None for a good one."""
    if found := wrong_text(name):
        return found
    if not name.strip() or "/" in name or name[0] in ".-~ " or name[-1] == " ":
        first = "expected the name of one folder, without /, no dot, dash, ~ or blank first and no blank last"
        return f"{first}, got {name!r}"
    if (size := len(name.encode())) > FOLDER_BYTES:
        return f"expected a name of at most {FOLDER_BYTES} bytes, got {size}: {name[:20]!r}..."
    return None


def wrong_words(text: str) -> str | None:
    """What is wrong with a name that is no file's, as a key or an address; None for a good one."""
    if not text.strip():
        return f"expected a name, got {text!r}"
    if len(text) > NAME_BYTES:
        return f"expected at most {NAME_BYTES} characters, got {len(text)}: {text[:20]!r}..."
    return wrong_text(text)


def wrong_text(text: str) -> str | None:
    """What no name may hold; None if it holds none of it."""
    if not_unicode(text):
        return f"expected UTF-8, got {text[:80]!r}"
    if any(ord(char) < ord(" ") or char == "\x7f" for char in text):
        return f"expected no control characters, got {text[:80]!r}"
    return None


def too_long(path: str) -> str | None:
    """What a file system says of it; None if it takes it."""
    longest = max(path.split("/"), key=lambda part: len(part.encode()))
    if (size := len(longest.encode())) > NAME_BYTES:
        return f"expected names of at most {NAME_BYTES} bytes, got {size}: {longest[:20]!r}..."
    if (size := len(path.encode())) > PATH_BYTES:
        return f"expected a path of at most {PATH_BYTES} bytes, got {size}: {path[:20]!r}..."
    return None


def not_unicode(text: str) -> bool:
    """Whether it holds halves of surrogate pairs, as Python reads an argument that is not UTF-8."""
    return any("\ud800" <= char <= "\udfff" for char in text)
