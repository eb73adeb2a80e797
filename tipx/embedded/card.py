"""The model card of an embedded pair: what `tipx.embedded.build` measured, in the words of the pair."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tipx.stats.estimates import mean_and_error


@dataclass(frozen=True)
class Accuracy:
    """Share of problems solved (0..1) of ``n``, one try each, with its standard error (None for one problem)."""

    mean: float
    error: float | None
    n: int

    @classmethod
    def of(cls, solved: Sequence[bool]) -> "Accuracy":
        """Accuracy from one verdict a problem; ValueError for none."""
        mean, error = mean_and_error([float(verdict) for verdict in solved])
        return cls(mean, error, len(solved))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {'?' if self.error is None else f'{self.error:.3f}'} (n={self.n})"


@dataclass(frozen=True)
class Built:
    """One finished model: how it was trained, in how many steps, and what it scores on the held-out problems."""

    recipe: str
    parameters: int
    steps: int
    greedy: Accuracy
    sampled: Accuracy


@dataclass(frozen=True, kw_only=True)
class CardText:
    """The words in which one pair's card differs from another's, each in lines of Markdown.

    `scores` says what is measured, `models` what kind of models they are, and `command` builds them again.
    """

    title: str
    summary: str
    task: str
    scores: str
    models: str
    recipe: str
    command: str


def write_card(text: CardText, built: Mapping[str, Built], seed: int, versions: str) -> str:
    """Return README.md for models saved in folders beside it, named by the keys."""
    rows = [f"| `{name}/` | {b.parameters:,} | {b.steps:,} | {b.greedy} | {b.sampled} |" for name, b in built.items()]
    recipes = [f"- `{name}`: {b.recipe}" for name, b in built.items()]
    lines = {"rows": "\n".join(rows), "recipes": "\n".join(recipes)}
    return CARD.format(**asdict(text), **lines, seed=seed, versions=versions)


CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {title}

{summary}

## Task

{task}

## Models

{scores}

| folder | parameters | steps trained | greedy | sampled |
|---|---|---|---|---|
{rows}

Both are `Qwen3ForCausalLM` with tied embeddings, {models}

## Recipe

{recipe}

{recipes}

A model is trained with heads of hidden / heads numbers. Heads smaller than 32 are then widened to 32 by zeros
(`tipx/embedded/heads.py`), for which vLLM has kernels. The model stays the same function, up to rounding, and training
leaves the zeros zero. The table counts them as parameters.

## Rebuild

    {command}

Seed {seed}, one CPU thread, {versions}. The same seed gives the same bytes on one machine; another processor or another
version of torch may round differently and end at a student of another strength.

## Licence

Apache-2.0.
"""
