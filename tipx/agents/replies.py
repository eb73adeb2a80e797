"""What an OpenAI-compatible server says, validated in one place.

An answer that lacks what is needed, or has it in another type, raises ValueError. A tool call is what a model wrote
through the server's parser, so a wrong one is the model's mistake and becomes Malformed.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from tipx.agents.calls import Call, Calls, HermesCalls, Malformed, Tools, checked, parsed
from tipx.agents.task import Message
from tipx.spec import Int

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)


def joined(content: Any) -> Any:
    """Content as text: "" for none, and parts one after the other. Parts that are no text are left out."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type", "text") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def or_none(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """The value, or None if it is not what it should be."""
    try:
        return validate(value)
    except ValidationError:
        return None


Tokens = Annotated[Int, Field(ge=0, le=10**12)]

Lenient = Annotated[T | None, WrapValidator(or_none)]


class Served(BaseModel):
    """A model that the server has, and the tokens of text it can read; None if the server does not say."""

    id: str
    max_model_len: Annotated[Tokens, Field(ge=1)] | None = None


class Models(BaseModel):
    """What /v1/models says."""

    data: list[Served]


class Function(BaseModel):
    """What is called. `arguments` is JSON text; some servers send the object itself, or nothing where it is empty."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str | dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        given = self.arguments or "{}"
        return given if isinstance(given, str) else json.dumps(given)


class ToolCall(BaseModel):
    """A call as a server hands it on; None is what it lacks, or has in another type."""

    id: Lenient[str] = None
    function: Lenient[Function] = None

    def read(self) -> Call | Malformed:
        if self.function is None:
            return Malformed('expected a function with "name" (text) and "arguments" (JSON text)')
        value = parsed(self.function.text)
        return value if isinstance(value, Malformed) else checked(self.function.name, cast("Any", value))

    def again(self, spare: str) -> Message:
        """The call as the server is shown it in later turns; `spare` is its id if it came without.

        Servers read the arguments again and refuse the whole conversation if these are no JSON object; such arguments
        stand in one as `unreadable` text.
        """
        name = self.function.name if self.function else "unknown"
        text = self.function.text if self.function else ""
        shown = text if isinstance(self.read(), Call) else json.dumps({"unreadable": text}, ensure_ascii=False)
        return {
            "id": self.id or spare,
            "type": "function",
            "function": {"name": name, "arguments": shown},
        }


class Said(BaseModel):
    """A turn of the model; its reasoning is text that the server told apart, by one of two names."""

    content: Annotated[str, BeforeValidator(joined)] = ""
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Lenient[ToolCall]] | None = None

    @property
    def thoughts(self) -> dict[str, str]:
        """The reasoning, by the name that the server has for it; templates show it to the model in later turns."""
        found = {"reasoning_content": self.reasoning_content, "reasoning": self.reasoning}
        return {name: text for name, text in found.items() if text is not None}

    @property
    def requests(self) -> list[ToolCall]:
        """The calls, in order; one that is no object lacks everything."""
        return [one or ToolCall() for one in self.tool_calls or []]

    def calls(self, tools: Tools) -> Calls:
        """The calls of the turn. Where the server hands on one as text, it did not understand it: it is malformed."""
        if self.requests:
            return [one.read() for one in self.requests]
        unread = HermesCalls().read(self.content, tools)
        return [Malformed("the server took it for text") if isinstance(one, Call) else one for one in unread]


class Choice(BaseModel):
    """One of the turns that were asked for; `finish_reason` is "length" where `max_tokens` cut it."""

    message: Said
    finish_reason: str | None = None


class Usage(BaseModel):
    """Tokens of the turn, and of the whole text with it; None if the server does not say."""

    completion_tokens: Tokens | None = None
    total_tokens: Tokens | None = None


class Completion(BaseModel):
    """What /v1/chat/completions says."""

    choices: Annotated[Sequence[Choice], Field(min_length=1)]
    usage: Usage | None = None


def read(text: bytes, shape: type[Shape]) -> Shape:
    """An answer's body. Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become "?".

    Raises ValueError, in a line, for a body that is no JSON or has not this shape.
    """
    value = parsed(text.decode("utf-8", "replace"))
    if isinstance(value, Malformed):
        raise ValueError(value.reason)  # noqa: TRY004 - what came is wrong, not how this was called
    try:
        return shape.model_validate_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(key) for key in first["loc"])
        raise ValueError(f"{place or 'the answer'}: {first['msg']}") from error
