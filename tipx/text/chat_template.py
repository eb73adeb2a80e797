"""The only place where a chat template is run.

A chat template is a program of somebody else. It runs in jinja's sandbox, with limits on time, memory and output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from tipx.errors import ModelError
from tipx.files.untrusted import RAISED, bounded_resources, error_text

SECONDS = 5.0
"""Seconds of processor time. Common templates take a hundredth of it for the longest conversation."""
MEMORY = 2**29
MAX_CHARACTERS = 2**24
"""More characters than the longest context holds."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    extra: Mapping[str, Any],
    remedy: str,
) -> str:
    """The conversation as text, up to the beginning of the model's next turn. The tokenizer must have a template.

    `extra` are variables of the template. Raises ModelError, whose text ends with `remedy`, if the template refuses the
    conversation, is broken, takes too long or writes too much.
    """
    tool_list: Any = list(tools) if tools else None
    try:
        with bounded_resources(SECONDS, MEMORY):
            text: Any = tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=tool_list,
                tokenize=False,
                add_generation_prompt=True,
                **extra,
            )
    except RAISED as error:
        # A ValueError may say that there are several named templates and no default.
        roles = ", ".join(dict.fromkeys(str(message["role"]) for message in messages))
        whose = f"of {tokenizer.name_or_path!r} " if tokenizer.name_or_path else ""
        raise ModelError(
            f"model: the chat template {whose}refuses messages of {roles} ({error_text(error)}); {remedy}"
        ) from error
    if len(text) > MAX_CHARACTERS:
        raise ModelError(
            f"model: the chat template writes {len(text)} characters; {MAX_CHARACTERS} are more than any model reads; "
            f"{remedy}"
        )
    return str(text).encode("utf-8", "replace").decode()  # tokenizers refuse halves of surrogate pairs


def find_context_length(tokenizer: PreTrainedTokenizerBase, config: Any) -> int | None:
    """The number of tokens that a model reads, by its configuration or its tokenizer. None if neither says it."""
    limits = (getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    return min((int(n) for n in limits if isinstance(n, int | float) and 0 < n < MAX_CHARACTERS), default=None)
