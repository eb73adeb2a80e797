"""The word-level tokenizer of the errands, and a chat template with tools in it.

A word, a digit and a mark of JSON (`{"name": "`) are one token each; blanks are none. Decoding puts one blank between
words and none where JSON's texts and numbers have none, so that calls can be read. The template is ChatML, shows tools
by their names alone, and writes calls as Hermes does.
"""

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tipx.embedded.agent.family import CLOSINGS, COLORS, CONNECTORS, ITEMS, NAMES, OPENINGS
from tipx.embedded.arithmetic.tokenizer import MAX_LENGTH, PAD, UNK

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


def vocabulary() -> dict[str, int]:
    """Token -> id: special tokens, digits, tags and marks, then words, each once."""
    drawn = " ".join(text for options in (OPENINGS, CONNECTORS, CLOSINGS) for text, _ in options)
    words = (*OTHER, *TOOLS, *drawn.replace("{}", "").split(), *COLORS, *ITEMS, *NAMES)
    tokens = (PAD, END, UNK, START, *"0123456789", *TAGS, *MARKS, *words)
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """With padding on the left, as generation needs."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNK))
    # What is no blank is a token: a mark, a tag, a word, a digit, or a sign.
    marks = "|".join(re.escape(mark) for mark in MARKS)
    token = Regex(rf"{marks}|</?[a-z_]+>|[A-Za-z_]+|\d|[^\sA-Za-z_\d]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(token, behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            # Puts a blank before every token but the first; no token starts with its continuation mark "##".
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\d) (?=\d)"), ""),
            decoders.Replace(Regex(r'(?<=": "|\{") '), ""),
            decoders.Replace(Regex(r' (?=", "|": "|"\})'), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNK,
        additional_special_tokens=[START],
        padding_side="left",
        model_max_length=MAX_LENGTH,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
