"""Units of quantities: what they measure, and how many of one are another."""

import re
from dataclasses import dataclass
from fractions import Fraction

F = Fraction
LENGTH = {
    "mm millimeter millimetre": F(1, 1000),
    "cm centimeter centimetre": F(1, 100),
    "dm decimeter decimetre": F(1, 10),
    "m meter metre": F(1),
    "km kilometer kilometre": F(1000),
    "in inch": F(254, 10000),
    "ft foot feet": F(3048, 10000),
    "yd yard": F(9144, 10000),
    "mi mile": F(1609344, 1000),
    "nm nanometer nanometre": F(1, 10**9),
}
TIME = {
    "s sec second": F(1),
    "ms millisecond": F(1, 1000),
    "min minute": F(60),
    "h hr hour": F(3600),
    "day": F(86400),
    "week": F(604800),
    "month": None,
    "yr year": None,
}
MASS = {
    "mg milligram": F(1, 10**6),
    "g gram": F(1, 1000),
    "kg kilogram": F(1),
    "lb lbs pound": F(45359237, 10**8),
    "oz ounce": F(45359237, 16 * 10**8),
    "ton tonne": F(1000),
}
VOLUME = {"ml mL milliliter millilitre": F(1, 10**6), "l L liter litre": F(1, 1000)}
OTHERS = {
    "rad radian": ("angle", F(1)),
    "dollar usd": ("dollar", F(1)),
    "cent": ("dollar", F(1, 100)),
    "euro eur": ("euro", F(1)),
    "pound sterling": ("pound sterling", F(1)),
    "percent percentage pct": ("percent", F(1)),
    "degree deg": ("degree", F(1)),
    "N newton": ("newton", F(1)),
    "J joule": ("joule", F(1)),
    "kJ kilojoule": ("joule", F(1000)),
    "W watt": ("watt", F(1)),
    "kW kilowatt": ("watt", F(1000)),
    "V volt": ("volt", F(1)),
    "A ampere amp": ("ampere", F(1)),
    "K kelvin": ("kelvin", F(1)),
    "Pa pascal": ("pascal", F(1)),
    "Hz hertz": ("hertz", F(1)),
    "mol mole": ("mole", F(1)),
    "eV": ("electronvolt", F(1)),
    "mph": ("length1 time-1", F(1609344, 3600000)),
    "kmh kph": ("length1 time-1", F(1000, 3600)),
}
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
"""Words that are part of a number."""
NO_UNITS = {"is", "are", "not", "no", "if", "or", "and", "when", "than", "plus", "minus", "times", "half", "except"}
NO_UNITS |= {"least", "most", "but", "nor", "unless", "where", "while", "negative", "wrong", "approximately"}
"""Words after a number that make it another one, or none."""
MONEY = {"\\$": "dollar", "$": "dollar", "€": "euro", "£": "pound sterling", "¥": "yen", "₹": "rupee"}
GENERIC = {"unit", "length unit", "unit of length", "total", "in total", "altogether", ""}
"""Words that say nothing of the unit."""


def table() -> dict[str, tuple[str, int, Fraction]]:
    """What a word measures, to which power, and its size."""
    found: dict[str, tuple[str, int, Fraction]] = {}
    for measures, power, words in (("length", 1, LENGTH), ("time", 1, TIME), ("mass", 1, MASS), ("length", 3, VOLUME)):
        for names, size in words.items():
            for name in names.split():
                # How long a month is depends.
                found[name] = (measures, power, size) if size is not None else (names.split()[-1], 1, F(1))
    for names, (measures, size) in OTHERS.items():
        if " " not in measures and names != measures:
            found |= dict.fromkeys(names.split(), (measures, 1, size))
    return found


KNOWN = table()
SPEEDS = {name: size for names, (kind, size) in OTHERS.items() if kind == "length1 time-1" for name in names.split()}
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
WORD = re.compile(r"[a-zA-Z]+")


@dataclass(frozen=True)
class Unit:
    """`measures` is the same for units that can be turned into each other, with `size` of a common one."""

    measures: str
    size: Fraction


ALIASES = {"celsius": "c", "fahrenheit": "f", "centigrade": "c"}


def stem(word: str) -> str:
    """A unit's word in the singular; others in small letters without a plural's s."""
    for form in (word, word.lower()):
        for one in (form, form.removesuffix("s"), form.removesuffix("es")):
            if one in KNOWN or one in SPEEDS:
                return one
    word = word.lower()
    return ALIASES.get(word, word.removesuffix("s"))


def is_unit(word: str) -> bool:
    """Whether a bare word is a unit; a letter alone is none."""
    return len(word) > 1 and (stem(word) in KNOWN or stem(word) in SPEEDS or word.lower() in SCALES)


def unit(text: str) -> Unit | None:
    """Of a text such as "cm^2", "square inches", "feet per second" or "apples"; None if it says nothing."""
    text = (
        text.replace("^{\\circ}", " degree ")
        .replace("%", " percent ")
        .replace(".", "")
        .replace("{", "")
        .replace("}", "")
    )
    text = re.sub(r"\(s\)", "", re.sub(r"\bper\b", "/", text)).strip()
    if re.sub(r"(?<=[a-z])s\b", "", re.sub(r"\b(?:square|sq|cubic|cu)\b|\^\d", "", text.lower())).strip() in GENERIC:
        return None
    powers: dict[str, int] = {}
    size = Fraction(1)
    for i, side in enumerate(text.split("/")):
        waiting = 1
        for found in re.finditer(r"([a-zA-Z]+)(?:\s*\^\s*(-?\d)|(\d))?", side):
            word, power = found[1], int(found[2] or found[3] or 1)
            if word.lower() in POWERS:
                waiting = POWERS[word.lower()]
                continue
            sign = (power if power != 1 else waiting) * (-1 if i else 1)
            waiting = 1
            one = stem(word)
            if one in SPEEDS:
                parts = [("length", 1), ("time", -1)]
                size *= SPEEDS[one] ** sign
            else:
                measures, own, each = KNOWN.get(one, (one, 1, Fraction(1)))
                parts = [(measures, own)]
                size *= each**sign
            for measures, own in parts:
                powers[measures] = powers.get(measures, 0) + own * sign
    names = [f"{name}{power}" for name, power in sorted(powers.items()) if power]
    return Unit(" ".join(names), size) if names else None
