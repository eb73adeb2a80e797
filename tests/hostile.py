"""What a name, a value or an answer of somebody else may hold that a terminal or a document must not obey."""

COMMANDS = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;file:///etc/passwd\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "back\x08space",
    "return\rover",
    "\x00nul",
    "\x7fdelete",
    "\x9b31mC1",
    "\u202eright to left\u202c",
    "\u2066isolate\u2069",
    "half \udcff",
)
"""For a terminal."""
MARKUP = ("[red]", "[/]", "[bold]x[/bold]", "[link=file:///etc/passwd]x[/link]", ":smile:")
"""For rich."""
DOCUMENT = (
    "a | b",
    "a \\| b",
    "two\n\nlines",
    "`code`",
    "``",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "[x][y]",
    "[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "# heading",
    "- item",
    "> quote",
    "end\\",
    "\\[x](javascript:alert(1))",
    "\\<b>",
)
"""For Markdown and HTML."""
EVERY = (*COMMANDS, *MARKUP, *DOCUMENT)
