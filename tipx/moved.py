"""Where classes of a configuration used to be: an old `_target_` keeps working, in a run and in a user's YAML."""

from typing import Any

MOVED = {
    "tipx.contamination.Guard": "tipx.evals.contamination.Guard",
    "tipx.data.arithmetic.ArithmeticPrompts": "tipx.embedded.arithmetic.data.ArithmeticPrompts",
    "tipx.divergences.TopK": "tipx.divergences.TopKDivergence",
    "tipx.evals.arithmetic.Arithmetic": "tipx.embedded.arithmetic.data.Arithmetic",
    "tipx.experiment.Experiment": "tipx.train.experiment.Experiment",
    "tipx.experiment.Loop": "tipx.train.experiment.Loop",
    "tipx.loggers.NoLogger": "tipx.train.loggers.NoLogger",
    "tipx.loggers.WandbLogger": "tipx.train.loggers.WandbLogger",
    "tipx.models.ModelSource": "tipx.models.pair.Student",
    "tipx.models.Pair": "tipx.models.pair.Pair",
    "tipx.models.Teacher": "tipx.models.pair.Teacher",
    "tipx.models.Template": "tipx.models.pair.Template",
    "tipx.models.pair.ModelSource": "tipx.models.pair.Student",
    "tipx.optim.AdamW": "tipx.train.optim.AdamW",
    "tipx.tinyagent.data.Errands": "tipx.embedded.agent.data.Errands",
    "tipx.tinyagent.data.HeldOutErrands": "tipx.embedded.agent.data.HeldOutErrands",
    "tipx.world.Hardware": "tipx.processes.Hardware",
}
"""The path of a class now, by each path it had."""
RENAMED = {
    "tipx.rollout.vllm.VLLMRollouts": {"memory": "gpu_memory_utilization", "max_length": "max_model_len"},
}
"""The name of a key now, by class and by each name it had."""


def current_target(target: str) -> str:
    """The `_target_` under which a class is found today."""
    return MOVED.get(target, target)


def with_current_targets(value: Any) -> Any:
    """A stored configuration, or a part of it, with every `_target_` and key as it is today."""
    if isinstance(value, dict):
        target = value.get("_target_")
        renamed = RENAMED.get(current_target(target), {}) if isinstance(target, str) else {}
        return {
            renamed.get(key, key): current_target(part)
            if key == "_target_" and isinstance(part, str)
            else with_current_targets(part)
            for key, part in value.items()
        }
    return [with_current_targets(part) for part in value] if isinstance(value, list) else value
