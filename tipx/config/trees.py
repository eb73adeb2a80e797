"""Nested containers and dotted keys."""

from typing import Any

Tree = dict[str, Any]


def leaf_keys(tree: Any, prefix: str = "") -> list[str]:
    """Dotted keys of every value that is not a mapping, in order."""
    if not isinstance(tree, dict) or not tree:
        return [prefix] if prefix else []
    return [leaf for key, value in tree.items() for leaf in leaf_keys(value, f"{prefix}.{key}" if prefix else str(key))]


def value_at(tree: Any, key: str) -> Any:
    """The value at a dotted key; None if there is none."""
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return None
        tree = tree[part]
    return tree
