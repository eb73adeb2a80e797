"""The tokenizer of the errands, and a chat template with tools in it.

A mark of JSON (`{"name": "`) is one token, as a word and a digit are. Decoding puts no blank where JSON's texts have
none, so that calls can be read. The template is ChatML, shows tools by their names alone, and writes calls as Hermes
does.
"""

import re

from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tipx.embedded.agent.family import CLOSINGS, COLORS, CONNECTORS, ITEMS, NAMES, OPENINGS
from tipx.embedded.tokenizer import PAD, UNK, build_word_tokenizer, number_tokens

START, END = "<|im_start|>", "<|im_end|>"
TAGS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>")
MARKS = ('{"name": "', '", "arguments": {"', '": "', '"}}', '{"error": "', '"}')
"""A longer one stands before the one it begins with."""
TOOLS = ("search_products", "query", "add_product_to_cart", "product_id")
OTHER = (
    *("system", "user", "assistant", "tool", "buy", "the", "cheapest", ".", ","),
    *("is", "less", "more", "take", "none", "no", "such", "product", "argument"),
)
TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n<tools>"
    "{% for tool in tools %} {{ tool.function.name }}{% endfor %} </tools><|im_end|>\n{% endif %}"
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{%- for call in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{%- endfor %}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITHOUT_BLANKS = (r'(?<=": "|\{") ', r' (?=", "|": "|"\})')
"""Blanks after the quote that opens a JSON text, and before the quote that closes it."""


def vocabulary() -> dict[str, int]:
    """Return token -> id: special tokens, digits, tags and marks, then words, each once."""
    phrases = " ".join(text for options in (OPENINGS, CONNECTORS, CLOSINGS) for text, _ in options)
    words = (*OTHER, *TOOLS, *phrases.replace("{}", "").split(), *COLORS, *ITEMS, *NAMES)
    return number_tokens((PAD, END, UNK, START, *"0123456789", *TAGS, *MARKS, *words))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the errands: a token is a mark, a tag, a word, a digit, or a sign."""
    marks = "|".join(re.escape(mark) for mark in MARKS)
    token = Regex(rf"{marks}|</?[a-z_]+>|[A-Za-z_]+|\d|[^\sA-Za-z_\d]")
    splitter = pre_tokenizers.Split(token, behavior="removed", invert=True)
    special = {"additional_special_tokens": [START], "chat_template": TEMPLATE}
    return build_word_tokenizer(vocabulary(), splitter, END, WITHOUT_BLANKS, **special)
