"""The one place where a chat template is run: a program of a stranger's, in jinja's sandbox, within bounds."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, bounded, said

SECONDS = 5.0
"""Of processor time; the templates that are in use take a hundredth of that for the longest conversation."""
MEMORY = 2**29
MAX_CHARACTERS = 2**24
"""Characters: more than the longest context holds."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    extra: Mapping[str, Any],
    remedy: str,
) -> str:
    """The conversation as text, up to where the model's next turn begins; the tokenizer must have a template.

    `extra` are variables of the template. Raises ModelError, which ends in `remedy`, where the template refuses the
    conversation, is broken, or takes or writes too much.
    """
    known: Any = list(tools) if tools else None
    try:
        with bounded(SECONDS, MEMORY):
            text: Any = tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=known,
                tokenize=False,
                add_generation_prompt=True,
                **extra,
            )
    except RAISED as error:
        # ValueError: several named templates, and none is the default.
        roles = ", ".join(dict.fromkeys(str(message["role"]) for message in messages))
        whose = f"of {tokenizer.name_or_path!r} " if tokenizer.name_or_path else ""
        raise ModelError(
            f"model: the chat template {whose}refuses messages of {roles} ({said(error)}); {remedy}"
        ) from error
    if len(text) > MAX_CHARACTERS:
        raise ModelError(
            f"model: the chat template writes {len(text)} characters; {MAX_CHARACTERS} are more than any model reads; "
            f"{remedy}"
        )
    return str(text).encode("utf-8", "replace").decode()  # no tokenizer takes halves of surrogate pairs


def find_context_length(tokenizer: PreTrainedTokenizerBase, config: Any) -> int | None:
    """Tokens that a model reads, as its configuration or its tokenizer says; None where neither does."""
    said_by = (getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    return min((int(n) for n in said_by if isinstance(n, int | float) and 0 < n < MAX_CHARACTERS), default=None)
