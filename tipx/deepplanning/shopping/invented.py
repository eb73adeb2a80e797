"""Products, users and wishes of the embedded sample, all invented, drawn from a seed.

Python promises the same stream across versions for Random.random() alone, so nothing else is drawn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tipx.deepplanning.shopping import transport
from tipx.deepplanning.shopping.catalogue import Product, reach
from tipx.deepplanning.shopping.coupons import COUPONS
from tipx.deepplanning.shopping.lookups import OPERATORS

T = TypeVar("T")

BRANDS = ("Velmora", "Tarnbeck", "Ospreth", "Quillrow", "Drovik")
KINDS = ("Jacket", "Trousers", "Sweater", "Sandals", "Gloves", "Cap", "Scarf", "Boots")
SERIES = ("Ridge", "Harbor", "Juniper", "Cinder", "Willow", "Comet", "Meadow", "Lantern")
COLORS = ("Moss Green", "Slate Grey", "Brick Red", "Desert Sand")
ORIGINS = ("Zhejiang", "Beijing", "Sichuan", "Guangdong", "Hubei", "Liaoning")
CARRIERS = ("SF Express", "JD Logistics", "YTO Express", "China Post", "EMS")
OF_A_KIND = 8
"""Products of each of four kinds: 32, enough for the search's threshold."""
WISHES = 3
# Path, sign, the bounds a wish may name, and how it says so.
RULES = (
    ("rating.average_score", ">", (4.2, 4.3, 4.4), "an average rating above {}"),
    ("sales_volume.monthly", ">", (150, 200, 250), "monthly sales above {}"),
    ("stock_quantity", ">=", (80, 100, 120), "at least {} in stock"),
    ("rating.total_reviews", ">", (400, 500, 600), "more than {} reviews"),
)


def between(rng: Random, low: int, high: int) -> int:
    """Both ends included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Random, options: Sequence[T]) -> T:
    return options[between(rng, 0, len(options) - 1)]


def shuffled(rng: Random, options: Sequence[T]) -> list[T]:
    return [one for _, one in sorted(((rng.random(), one) for one in options), key=lambda pair: pair[0])]


@dataclass(frozen=True)
class Wish:
    """One thing the user wants."""

    kind: str
    color: str
    path: str
    sign: str
    bound: float
    says: str
    days: int

    def meets(self, product: Product, address: str) -> bool:
        arrival = transport.delivery(product, address)
        return (
            product["name"].endswith(f" {self.kind}")
            and product["color"] == self.color
            and OPERATORS[self.sign](reach(product, self.path), self.bound)
            and arrival is not None
            and arrival <= self.days
        )

    @property
    def text(self) -> str:
        within = "1 day" if self.days == 1 else f"{self.days} days"
        return f"{self.kind} in {self.color} with {self.says.format(self.bound)}, delivered within {within}"


def wish(rng: Random, kind: str, color: str) -> Wish:
    path, sign, bounds, says = pick(rng, RULES)
    return Wish(kind, color, path, sign, pick(rng, bounds), says, between(rng, 2, 3))


def catalogue(rng: Random, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Mixed up; of each kind most have the color with the same place in its list."""
    pairs = [(kind, COLORS[at]) for at, kind in enumerate(kinds) for _ in range(OF_A_KIND)]
    return shuffled(rng, [product(rng, kind, color) for kind, color in pairs])


def product(rng: Random, kind: str, usual: str) -> dict[str, Any]:
    stars = [between(rng, 0, most) for most in (12, 20, 60, 200, 700)]
    score = round(sum((at + 1) * count for at, count in enumerate(stars)) / max(sum(stars), 1), 1)
    monthly = between(rng, 60, 600)
    brand = pick(rng, BRANDS)
    return {
        "product_id": f"{int(rng.random() * 16**8):08x}",
        "name": f"{brand} {pick(rng, SERIES)} {kind}",
        "brand": brand,
        "color": usual if rng.random() < 0.65 else pick(rng, COLORS),
        "size": pick(rng, ("S", "M", "L", "XL")),
        "thickness": pick(rng, ("Thin", "Regular", "Thick")),
        "elasticity": pick(rng, ("None", "Slight", "High")),
        "version_type": pick(rng, ("Slim", "Loose", "Straight")),
        "collar_type": pick(rng, ("Round", "Stand", "Open")),
        "suitable_season": pick(rng, ("Spring", "Summer", "Autumn", "Winter")),
        "target_demographic": pick(rng, ("Women", "Men", "Unisex")),
        "price": between(rng, 120, 640),
        "stock_quantity": between(rng, 20, 400),
        "sales_volume": {"monthly": monthly, "total": monthly * between(rng, 4, 15)},
        "rating": {
            "average_score": score,
            "total_reviews": sum(stars),
            "distribution": {f"{at + 1}_star": count for at, count in enumerate(stars)},
        },
        "shipping_info": {"origin": pick(rng, ORIGINS), "provider": pick(rng, CARRIERS)},
        "applicable_coupons": list(COUPONS),
    }


def user(rng: Random, coupons: Mapping[str, int], *, vip: bool) -> dict[str, Any]:
    number = f"user_{between(rng, 1000, 9999)}"
    return {"user_id": number, "address": pick(rng, ORIGINS), "is_vip": vip, "coupons": dict(coupons)}
