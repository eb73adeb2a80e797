"""How many days a parcel takes: a table of regions, and what the carrier adds or takes off.

The benchmark finds the province of an address by the first alias, in the order below, that is contained in it, unless
the whole address is one. Aliases are short, so that only a bare province is safe: "zhejianghangzhou" holds "ji", which
is Hebei, and "Inner Mongolia" holds "e", which is Hubei. This decides which products meet a wish, so it is kept.
"""

from collections.abc import Mapping
from typing import Any

# Region, then the provinces' names and aliases. The order is part of the behaviour.
ALIASES = """
NC beijing bj 北京|EC shanghai sh 上海|NC tianjin tj 天津|SW chongqing cq 重庆|NC hebei ji 河北|NC shanxi jin 山西
NE liaoning liao 辽宁|NE jilin ji_ln 吉林|NE heilongjiang hei 黑龙江|EC jiangsu su 江苏|EC zhejiang zhe 浙江
EC anhui wan 安徽|EC fujian min 福建|EC jiangxi gan 江西|EC shandong lu 山东|CC henan yu 河南|CC hubei e 湖北
CC hunan xiang 湖南|SC guangdong yue gd 广东|SC hainan qiong 海南|SW sichuan chuan shu 四川|SW guizhou qian gui_gz 贵州
SW yunnan yun dian 云南|NW shaanxi shan qin 陕西|NW gansu gan_gs 甘肃|NW qinghai qing 青海
NC inner_mongolia neimenggu meng 内蒙古|SC guangxi gui 广西|SW tibet xizang zang 西藏|NW ningxia ning 宁夏
NW xinjiang xin 新疆|SC hongkong hk xianggang 香港|SC macau mo aomen 澳门|SC taiwan tw 台湾
"""
ROWS = [row.split() for line in ALIASES.split("\n") for row in line.split("|") if row]
REGION = {names[0]: region for region, *names in ROWS}
PROVINCE = {alias.replace("inner_", "inner "): names[0] for _, *names in ROWS for alias in names}
REMOTE = {"tibet", "xinjiang", "qinghai", "inner_mongolia"}
REMOTE_DAYS = 2

# Days between regions, the same both ways: a triangle.
ORDER = ("NC", "NE", "EC", "CC", "SC", "SW", "NW")
TRIANGLE = ("1", "21", "231", "2321", "34221", "343231", "3443431")
DAYS = {(a, b): int(TRIANGLE[max(i, j)][min(i, j)]) for i, a in enumerate(ORDER) for j, b in enumerate(ORDER)}
CARRIER_DAYS = {
    "sf express": -2,
    "sf": -2,
    "jd logistics": -1,
    "jd": -1,
    "yto express": 1,
    "zto express": 1,
    "sto express": 1,
    "yunda express": 1,
    "cainiao": 1,
    "china post": 2,
}


def province(address: str) -> str | None:
    """Of an address, as the benchmark finds it; None if no alias is in it."""
    key = address.lower().replace(" ", "").replace("province", "").replace("city", "")
    if not address or key in PROVINCE:
        return PROVINCE.get(key) if address else None
    return next((name for alias, name in PROVINCE.items() if alias in key), None)


def days(origin: str, destination: str, carrier: str) -> int:
    """At least 1; both are provinces. A carrier that is not known takes nothing off and adds nothing."""
    base = DAYS[REGION[origin], REGION[destination]]
    remote = REMOTE_DAYS if REMOTE & {origin, destination} else 0
    return max(1, base + remote + CARRIER_DAYS.get(carrier.lower(), 0))


def delivery(product: Mapping[str, Any], destination: str) -> int | None:
    """Days to a destination by the product's own carrier; None where a province cannot be told."""
    shipping = product.get("shipping_info") or {}
    start, end = province(str(shipping.get("origin") or "")), province(destination)
    return days(start, end, str(shipping.get("provider") or "")) if start and end else None
