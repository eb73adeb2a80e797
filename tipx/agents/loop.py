"""Multi-turn rollouts in token ids: `batch_size` episodes at once, each of which goes on as soon as it is answered.

What a turn is depends on its own episode, its row and its number alone, so not on what it is batched with. The text
before a turn stays in the cache, transformers' as well as vLLM's: what a tool said is all that is read. By vLLM all
live episodes say their next turn together.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel

from tipx.agents.calls import CallFormat
from tipx.agents.chat import Chat
from tipx.agents.episode import Episode
from tipx.agents.rules import Rules
from tipx.agents.script import Script
from tipx.agents.task import Task
from tipx.errors import ConfigError, ModelError
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import from_lists
from tipx.rollout.decode import Response
from tipx.rollout.hf import HFRollouts
from tipx.rollout.recorder import Recorder
from tipx.rollout.vllm import VLLMRollouts
from tipx.sharding import compute_device
from tipx.spec import spec
from tipx.types import Prompt, Rollout, StopReason


@spec
class AgentRollouts(Rules):
    """Trajectories of several turns with tools in between."""

    backend: HFRollouts | VLLMRollouts | Script
    """What samples each turn. Its `max_new_tokens` is that of one turn."""
    calls: CallFormat
    """How tool calls are read from the model's text: the format that the student was trained on."""

    @property
    def batch_size(self) -> int:
        return self.backend.batch_size

    @property
    def records_states(self) -> bool:
        return self.backend.records_states

    @property
    def gives_logprobs(self) -> bool:
        return self.backend.gives_logprobs

    def rollout(self, model: PreTrainedModel, chat: Chat, tasks: Sequence[Task], request: RolloutRequest) -> Rollout:
        """A trajectory for each task; see `play`."""
        return collected(self.play(model, chat, tasks, request), compute_device(model))

    def play(self, model: PreTrainedModel, chat: Chat, tasks: Sequence[Task], request: RolloutRequest) -> list[Episode]:
        """An episode for each task, to its end. The prompts of the request are what `chat.start` makes of the tasks.

        Draws are keyed by the request's rows and the number of the turn.
        """
        begun = zip(tasks, request.rows, request.prompts, strict=True)
        episodes = [Episode(task, row, list(ids)) for task, row, ids in begun]
        context = self.longest(model)
        for episode in episodes:
            self.end_without_room(episode, context)
        if isinstance(self.backend, HFRollouts):
            self.converse(self.backend, model, chat, episodes, request, context)
            return episodes
        with self.awake(model):
            for turn in range(self.max_turns):
                live = [episode for episode in episodes if episode.stop is None]
                if not live:
                    break
                limits = [self.room(episode, context) for episode in live]
                asked = RolloutRequest(
                    prompts=[[*episode.prompt, *episode.ids] for episode in live],
                    rows=[episode.row for episode in live],
                    noise=turn_noise(request, turn),
                    limits=[most for most, _ in limits],
                    with_states=request.with_states,
                )
                said = self.say(self.backend, model, chat, live, asked)
                for episode, ids, (_, reason) in zip(live, said, limits, strict=True):
                    self.hear(chat, episode, ids, context, reason)
        return episodes

    def converse(
        self,
        backend: HFRollouts,
        model: PreTrainedModel,
        chat: Chat,
        episodes: Sequence[Episode],
        request: RolloutRequest,
        context: int | None,
    ) -> None:
        """Plays episodes to their ends, each at its own pace."""
        speakers: dict[Response, Episode] = {}
        places: list[tuple[Episode, list[int]]] = []

        def ask(episode: Episode) -> Response:
            """For the next turn."""
            limit, _ = self.room(episode, context)
            text = [*episode.prompt, *episode.ids]
            response = Response(text, episode.row, turn_noise(request, episode.turns), limit)
            speakers[response] = episode
            return response

        def reply(response: Response) -> Response | None:
            episode = speakers.pop(response)
            places.append((episode, response.places))
            _, reason = self.room(episode, context)
            self.hear(chat, episode, response.ids, context, reason)
            return None if episode.stop is not None else ask(episode)

        recorder = Recorder(model) if request.with_states else None
        first = [ask(episode) for episode in episodes if episode.stop is None]
        for _ in backend.respond(model, chat.tokenizer, first, reply, recorder):
            pass
        if recorder is not None:
            for episode, own in places:
                episode.states.append(recorder.states(own))

    def awake(self, model: PreTrainedModel) -> AbstractContextManager[object]:
        return self.backend.awake(model) if isinstance(self.backend, VLLMRollouts) else nullcontext()

    def longest(self, model: PreTrainedModel) -> int | None:
        """Tokens of text that the model, its engine and these rules allow; None if none of them says."""
        known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        # A longer text vLLM would refuse, and the run with it.
        engine = self.backend.max_model_len if isinstance(self.backend, VLLMRollouts) else None
        return min((n for n in (self.context, known, engine) if n is not None), default=None)

    def room(self, episode: Episode, context: int | None) -> tuple[int, StopReason]:
        """Tokens that the next turn may have, and the limit that says so."""
        limits: list[tuple[int, StopReason]] = [
            (self.backend.max_new_tokens, "length"),
            (self.max_new_tokens - episode.sampled, "tokens"),
        ]
        if context is not None:
            limits.append((context - episode.length, "context"))
        return min(limits, key=lambda limit: limit[0])

    def end_without_room(self, episode: Episode, context: int | None) -> None:
        room, reason = self.room(episode, context)
        if room < 1:
            episode.end(reason)

    def say(
        self,
        backend: VLLMRollouts | Script,
        model: PreTrainedModel,
        chat: Chat,
        live: Sequence[Episode],
        request: RolloutRequest,
    ) -> list[list[int]]:
        """The next turn of every live episode, in token ids; the prompts of the request are all that was said."""
        if isinstance(backend, Script):
            limits = request.limits_within(backend.max_new_tokens)
            return [backend.ids(e, self.calls, chat, most) for e, most in zip(live, limits, strict=True)]
        made = backend(model, chat.tokenizer, request)
        if made.logprobs_N is not None:
            for episode, turn_n in zip(live, made.logprobs_N.split(made.lengths), strict=True):
                episode.logprobs.append(turn_n)
        return [made.response_BT[b, :n].tolist() for b, n in enumerate(made.lengths)]

    def hear(self, chat: Chat, episode: Episode, ids: list[int], context: int | None, limit: StopReason) -> None:
        """A turn, and what it leads to: tool results, a user's message, or the end. `limit` is what may have cut it."""
        episode.extend(ids, sampled=True)
        episode.say(chat.said(ids))
        if ids[-1] not in chat.ends:
            episode.end(limit)
            return
        answers = self.answer(episode, self.calls.read(episode.text, episode.task.tools))
        episode.messages += answers
        if not answers or episode.turns == self.max_turns:
            episode.end("turns" if answers else "eos")
            return
        between = chat.between(answers)
        episode.extend(between, sampled=False)
        self.end_without_room(episode, context)
        if episode.stop is not None:
            # No turn follows: it would only be read, and predict nothing.
            episode.forget(len(between))


def turn_noise(request: RolloutRequest, turn: int) -> Noise:
    """The draws of a turn, by its number."""
    return request.noise.substream(f"turn {turn}")


def collected(episodes: Sequence[Episode], device: torch.device) -> Rollout:
    """Ended episodes as one rollout: B rows of T tokens, `valid_BT` from the episodes' masks; see `Episode`.

    An episode without a sampled token has a row without valid tokens, which nothing is trained on.
    """
    prompts, ids = [e.prompt for e in episodes], [e.ids for e in episodes]
    reasons = [e.stop or "turns" for e in episodes]
    made = from_lists(prompts, ids, reasons, device, [e.mask for e in episodes])
    states, logprobs = ([t for e in episodes for t in getattr(e, name)] for name in ("states", "logprobs"))
    extra: dict[str, Any] = {"states_ND": torch.cat(states)} if states else {}
    extra |= {"logprobs_N": torch.cat(logprobs)} if logprobs else {}
    return Rollout(
        made.prompt_ids,
        made.response_BT,
        made.valid_BT,
        made.stop_reasons,
        numbers=tuple(e.counts | e.scores | {"score": e.score} for e in episodes),
        **extra,
    )


def check_tasks(prompts: Sequence[Prompt], how: object, group: str) -> None:
    """Raises ConfigError where an agent is to answer questions, something else is to do tasks, or there is no gold.

    `group` is that of the configuration in which `how` is chosen.
    """
    agent = isinstance(how, Rules)
    plain = {"rollout": "hf", "eval": "sampled"}
    for prompt in prompts:
        if agent and prompt.task is None:
            raise ConfigError(
                f"{group}: an agent does tasks, and {prompt.id!r} is a question; take other tasks or "
                f"{group}={plain[group]}"
            )
        if plays_gold(how) and prompt.task is not None and prompt.task.gold() is None:
            raise ConfigError(
                f"{group}=agent_gold: task {prompt.id!r} has no gold trajectory; take others, or {group}=agent"
            )
        if not agent and prompt.task is not None:
            raise ConfigError(f"{group}: {prompt.id!r} is a task with tools, which needs turns; set {group}=agent")


def check_chat(chat: Chat, prompts: Sequence[Prompt]) -> None:
    """Raises ModelError where the tasks cannot be told to a model: its chat template, or words it does not know."""
    tokenizer, firsts = chat.tokenizer, dict[tuple[str, str], Prompt]()
    for prompt in prompts:
        firsts.setdefault((prompt.task.slice, json.dumps(prompt.task.tools)), prompt)
    # Some families name a token that stands in every prompt as their unknown one.
    usual = {None, *chat.ends, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    unknown = {tokenizer.unk_token_id} - usual
    for prompt in firsts.values():
        chat.check(prompt.task.tools)
        ids = chat.start(prompt.task.messages, prompt.task.tools)
        if lost := sum(token in unknown for token in ids):
            raise ModelError(
                f"model: {lost} of the {len(ids)} tokens of task {prompt.id!r} are {tokenizer.unk_token!r} to its "
                "tokenizer, which does not know these words; take a model with a whole vocabulary"
            )


def plays_gold(how: object) -> bool:
    """Whether the tasks' own trajectories are played."""
    return isinstance(how, AgentRollouts) and isinstance(how.backend, Script) and how.backend.turns is None
