r"""One way to write each thing: styling, spacing, synonyms and Unicode of LaTeX answers are brought to one form.

Nothing here changes what an answer says. The result is for `tokens`, not for people.
"""

import re
import unicodedata

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ϑ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi",
    "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
# What each of some characters is in LaTeX. A blank at the end parts a command from a letter after it.
SIGNS = {
    "\\times ": "×", "\\cdot ": "·⋅∙", "/": "÷⁄∕", "-": "−–—‐‑", "'": "′’", "\\pm ": "±", "\\mp ": "∓",
    "\\le ": "≤⩽", "\\ge ": "≥⩾", "\\ne ": "≠", "\\approx ": "≈", "\\infty ": "∞", "\\ldots ": "…⋯",
    "\\emptyset ": "∅", "\\in ": "∈", "\\cup ": "∪", "\\setminus ": "∖", "\\sqrt ": "√", "\\sqrt[3]": "∛",
    "\\lfloor ": "⌊", "\\rfloor ": "⌋", "\\lceil ": "⌈", "\\rceil ": "⌉", "\\langle ": "⟨", "\\rangle ": "⟩",
    "^{\\circ}": "°º˚", "^{\\circ}\\text{C}": "℃", "^{\\circ}\\text{F}": "℉", " cents ": "¢",
    "\\mathbb{R}": "ℝ", "\\mathbb{Z}": "ℤ", "\\mathbb{Q}": "ℚ", "\\mathbb{N}": "ℕ", "\\mathbb{C}": "ℂ",
    "": "\u200b\u2061\ufeff",
}  # fmt: skip
# Applied before NFKC, which would make 2² the number 22.
CHARACTERS = {sign: by for by, signs in SIGNS.items() for sign in signs}
CHARACTERS |= {letter: f"\\{name} " for letter, name in GREEK.items()}
HALVES = re.compile("[¼½¾⅐-⅞]")
RAISED = re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿⁱ]+")
LOWERED = re.compile("[₀-₉₊₋ₙᵢ]+")
ROOT = re.compile(r"(√|∛)\s*(\d+(?:\.\d+)?)")

# Commands that are other ways to write one.
SYNONYMS = {
    "": "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr",
    " ": "displaystyle textstyle scriptstyle limits nolimits rm bf quad qquad enspace thinspace medspace space null "
    "boxed fbox mathbf boldsymbol bm pmb mathcal mathnormal underline bold mathstrut strut ensuremath",
    "\\frac ": "dfrac tfrac cfrac nicefrac sfrac flatfrac",
    "\\binom ": "dbinom tbinom",
    "\\le ": "leq leqslant leqq",
    "\\ge ": "geq geqslant geqq",
    "\\ne ": "neq",
    "<": "lt",
    ">": "gt",
    "|": "lvert rvert vert mid",
    ":": "colon",
    "/": "div",
    "'": "prime",
    "(": "lparen",
    ")": "rparen",
    "[": "lbrack",
    "]": "rbrack",
    "\\{": "lbrace",
    "\\}": "rbrace",
    "\\ldots ": "dots cdots dotsc dotsb dotsm dotso hdots",
    "\\emptyset ": "varnothing",
    "\\infty ": "infin",
    "\\epsilon ": "varepsilon",
    "\\phi ": "varphi",
    "\\theta ": "vartheta",
    "\\cdot ": "ast",
    "\\setminus ": "smallsetminus backslash",
    "\\cup ": "bigcup",
    "\\tan ": "tg",
    "\\cot ": "ctg cotg",
    "\\arcsin ": "asin",
    "\\arccos ": "acos",
    "\\arctan ": "atan arctg",
    "\\text{and}": "land wedge",
    "\\text{or}": "lor vee",
    "\\mathbb{R}": "R reals",
    "^{\\circ}": "degree textdegree",
    "\\$ ": "textdollar",
    "€": "euro texteuro",
    "£": "pounds",
    "i": "imath",
    "j": "jmath",
}
COMMANDS = {f"\\{name}": by for by, names in SYNONYMS.items() for name in names.split()}
COMMAND = re.compile(r"\\[a-zA-Z]+\s*")
FONTS = r"text(?:bf|it|rm|sf|tt|up|sc|normal)?|mathrm|mathit|mathsf|mathtt|mbox|hbox|operatorname\*?|emph|mathop|bf|rm"
UPRIGHT = re.compile(rf"\\(?:{FONTS})\s*\{{([^{{}}]*)\}}")
UPRIGHT_LETTER = re.compile(rf"\\(?:{FONTS})\s+([a-zA-Z])(?![a-zA-Z])")
UPRIGHT_GROUP = re.compile(rf"\\(?:{FONTS})\s*(?=\{{[^{{}}]*\{{)")
# Names that need no backslash to be known.
NAMED = {"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "exp"}
NAMED |= {"log", "ln", "lg", "sqrt", "pi", "max", "min", "gcd", "lcm", "infty"}
BARE = {name: name for name in NAMED} | {"infinity": "infty", "inf": "infty", "oo": "infty"}
LETTERS = re.compile(r"(\\?)([a-zA-Z]+)")

REPEATING = re.compile(r"(\d*)\.(\d*)(?:\\overline|\\bar|\\dot)\s*\{\s*(\d+)\s*\}|(\d*)\.(\d*)(?:\\bar|\\dot)\s*(\d)")
STEPS = (
    # A dollar is money with a backslash, and the border of mathematics without.
    (re.compile(r"\\\$"), r"\\textdollar "),
    (re.compile(r"\b(?:np|math)\.(?=[a-z])"), ""),
    (re.compile(r"\$|\*\*|\\\(|\\\)|(?<!\\)\\\[|(?<!\\)\\\]"), " "),
    (re.compile(r"\\(?:color|tag|label|hspace|vspace|phantom|hphantom|vphantom)\*?\s*\{[^{}]*\}"), " "),
    (re.compile(r"\\textcolor\s*\{[^{}]*\}"), " "),
    # Digits in threes, as LaTeX parts them.
    (re.compile(r"(?<=\d)(?:\s*\{,\}\s*|,?\s*\\!\s*|\s*\\[,:; ]\s*|~)(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\!|[_^]?\{\s*\}"), ""),
    (re.compile(r"(?<=\\\\)\s*\[[\d.]+(?:pt|em|ex|mm)\]"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<!\\)\\[,:;> ]|~"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\.\.\.+|\. \. \."), r"\\ldots "),
    (re.compile(r"(?<![\d./])(\d+)\s+(\d+)/(\d+)(?![\d/])"), r"\1\\frac{\2}{\3}"),
    (re.compile(r"<="), r"\\le "),
    (re.compile(r">="), r"\\ge "),
    (re.compile(r"!="), r"\\ne "),
    (re.compile(r"\+/-|\+-"), r"\\pm "),
    (re.compile(r"\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})"), "^{\\\\circ}"),
)
# Half-open intervals as they are written in France.
FRENCH = (
    (re.compile(r"\]([^\[\](),;]+[,;][^\[\](),;]+)\["), r"(\1)"),
    (re.compile(r"\[([^\[\](),;]+[,;][^\[\](),;]+)\["), r"[\1)"),
    (re.compile(r"\]([^\[\](),;]+[,;][^\[\](),;]+)\]"), r"(\1]"),
)
POUND = re.compile(r"(?<=[\d)}\]])\s*\.\s*$")


def canonical(text: str) -> str:
    """The text in one way of writing; the same when it is done twice."""
    text = ROOT.sub(lambda root: f"{root[1]}{{{root[2]}}}", text)
    text = HALVES.sub(
        lambda part: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", part[0]).split("⁄")), text
    )
    text = RAISED.sub(lambda part: f"^{{{unicodedata.normalize('NFKC', part[0]).replace('−', '-')}}}", text)
    text = LOWERED.sub(lambda part: f"_{{{unicodedata.normalize('NFKC', part[0]).replace('−', '-')}}}", text)
    text = "".join(CHARACTERS.get(character, character) for character in text)
    text = unicodedata.normalize("NFKC", text)
    for pattern, by in STEPS:
        text = pattern.sub(by, text)
    text = COMMAND.sub(lambda word: COMMANDS.get(word[0].rstrip(), word[0]), text)
    text = REPEATING.sub(repeating, text)
    text = UPRIGHT_LETTER.sub(r"\\text{\1}", text)
    text = UPRIGHT.sub(upright, text)
    text = UPRIGHT_GROUP.sub(" ", text)
    text = LETTERS.sub(lambda word: word[0] if word[1] or word[2] not in BARE else f"\\{BARE[word[2]]} ", text)
    for pattern, by in FRENCH:
        text = pattern.sub(by, text)
    return POUND.sub("", " ".join(text.split())).strip()


def upright(found: re.Match[str]) -> str:
    r"""Words stay `\text{...}`; a name that LaTeX has a command for is that command; all else is mathematics."""
    content = found[1].strip()
    if content in BARE:
        return f"\\{BARE[content]} "
    if re.search(r"[\d=<>\\]", content):
        return LETTERS.sub(lambda word: word[0] if word[1] else f"\\text{{{word[2]}}}", f" {content} ")
    return f"\\text{{{content}}}" if re.search("[a-zA-Z]", content) else f" {content} "


def repeating(found: re.Match[str]) -> str:
    r"""`0.1\overline{6}` is a fraction."""
    whole, fixed, again = (part or "" for part in found.groups() if part is not None)
    scale = 10 ** len(fixed)
    above = int(whole + fixed + again or 0) - int(whole + fixed or 0)
    return f"(\\frac{{{above}}}{{{scale * (10 ** len(again) - 1)}}})"
