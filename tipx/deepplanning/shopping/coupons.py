"""The ten coupons there are, and when they may be used together."""

import re
from collections.abc import Mapping

COUPONS = (
    "Cross-store: ¥30 off every ¥300",
    "Cross-store: ¥60 off every ¥500",
    "Cross-store: ¥120 off every ¥900",
    "Cross-store: ¥200 off every ¥1,200",
    "Cross-store: ¥300 off every ¥1,500",
    "Same-brand: ¥25 off every ¥200",
    "Same-brand: ¥60 off every ¥400",
    "Same-brand: ¥180 off every ¥1,000",
    "Same-brand: ¥300 off every ¥1,200",
    "VIP: ¥200 off every ¥1,000",
)


def terms(coupon: str) -> tuple[int, int]:
    """(yuan off, yuan that must be spent for it)."""
    off, threshold = (int(amount.replace(",", "")) for amount in re.findall(r"¥([\d,]+)", coupon))
    return off, threshold


TERMS = {coupon: terms(coupon) for coupon in COUPONS}


def discount(used: Mapping[str, int]) -> int:
    """Yuan off by these coupons."""
    return sum(TERMS[coupon][0] * count for coupon, count in used.items())


def needed(used: Mapping[str, int]) -> int:
    """What the cart must come to, before discounts, for these coupons together: the sum of their thresholds.

    That a same-brand coupon counts one brand's products only is told to the model and not checked by the tools.
    """
    return sum(TERMS[coupon][1] * count for coupon, count in used.items())
