"""What was said first in a long conversation, summarised by a model so that the rest fits.

A summary is kept by the content of the turns that it stands for, so that the next turn of the
conversation, and whoever has the same conversation on this node, does not pay for it again. It is
kept on this node alone: one that comes from another would count only if a member had signed it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from aiex.assistant import prompts
from aiex.assistant.models import Chosen, Models, sum_of
from aiex.assistant.verbs import Run
from aiex.context import (
    AnalysisCache,
    CacheKey,
    Chunk,
    FittedConversation,
    fit_conversation,
    plan_summaries,
)
from aiex.core import (
    AiexError,
    Message,
    Notice,
    Progress,
    StoreError,
    UnusableReplyError,
    UsageTotal,
)

__all__ = ["ShortConversation", "Summaries"]

_MOST_AT_ONCE = 8  # summaries made for one request
_LONGEST = 400  # tokens of a summary; the prompt asks for fewer
_CHARACTERS_A_TOKEN = 2  # the safe side for what is cut before it is summarised


class ShortConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that was made to fit.

    Attributes:
        fitted: It, and what it leaves out.
        usage: What its summaries used; `None` if no model was asked.
    """

    fitted: FittedConversation
    usage: UsageTotal | None = None


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A summary in the cache."""

    text: str
    model: str


_KEPT = msgspec.json.Decoder(_Kept)


class Summaries:
    """Makes conversations fit, with summaries where a model gives some.

    Args:
        models: Asks models.
        cache: Keeps summaries.
        redact: Takes secrets out of what is kept.
    """

    def __init__(
        self, models: Models, cache: AnalysisCache, *, redact: Callable[[str], str] = str
    ) -> None:
        self._models = models
        self._cache = cache
        self._redact = redact

    async def fit(
        self, run: Run, chosen: Chosen, messages: Sequence[Message], budget: int
    ) -> ShortConversation:
        """Return *messages*, made to fit into *budget* tokens.

        No model is asked with `--offline`, for a dry run, or when the request may cost no more
        than an amount, which is for the answer. Turns without a summary become a note.

        Args:
            run: The request.
            chosen: Who may answer, and summarises too.
            messages: The conversation.
            budget: Tokens there are.
        """

        def count(message: Message) -> int:
            return self._models.count_message(message, chosen.model)

        plan = plan_summaries(messages, budget, count, summary_tokens=_LONGEST)
        summaries = dict(await self._known(plan.chunks, run))
        missing = [chunk for chunk in plan.chunks if chunk.digest not in summaries]
        missing = missing[-_MOST_AT_ONCE:]
        made: dict[str, _Kept] = {}
        usages: list[UsageTotal] = []
        options = run.request.options
        if missing and not (options.offline or options.dry_run or options.max_cost is not None):
            await self._summarise(run, chosen, missing, made, usages)
            await self._keep(made)
        summaries |= {digest: one.text for digest, one in made.items()}
        return ShortConversation(
            fitted=fit_conversation(messages, budget, count, summaries=summaries),
            usage=sum_of(usages) if usages else None,
        )

    async def _known(self, chunks: Sequence[Chunk], run: Run) -> Mapping[str, str]:
        if not chunks or not run.request.options.use_cache:
            return {}
        try:
            values = await self._cache.get_many([_key(chunk.digest) for chunk in chunks])
        except StoreError:
            return {}  # a summary can be made anew
        return {
            chunk.digest: _KEPT.decode(value).text
            for chunk, value in zip(chunks, values, strict=True)
            if value is not None
        }

    async def _summarise(
        self,
        run: Run,
        chosen: Chosen,
        chunks: Sequence[Chunk],
        made: dict[str, _Kept],
        usages: list[UsageTotal],
    ) -> None:
        """Add summaries of *chunks* to *made*, newest first, up to one that no model gives."""
        for number, chunk in enumerate(reversed(chunks)):
            stage = "earlier turns are summarised"
            await run.emit(Progress(stage=stage, done=number, total=len(chunks), unit="chunks"))
            try:
                asked = await self._models.ask(
                    run,
                    chosen,
                    self._question(chunk, chosen),
                    output_tokens=_LONGEST,
                    streams=False,
                )
                usages.append(asked.usage)
                text = "" if asked.reply is None else asked.reply.text.strip()
                if not text:
                    raise UnusableReplyError("the model's summary was empty")
            except AiexError as error:
                said = f"earlier turns are left out, not summarised: {error.message}"
                await run.emit(Notice(text=said, level="warning"))
                return
            model = f"{asked.usage.provider}:{asked.usage.model}"
            made[chunk.digest] = _Kept(text=text, model=model)

    def _question(self, chunk: Chunk, chosen: Chosen) -> Sequence[Message]:
        whole = prompts.summarise(chunk.messages)
        room = chosen.room(_LONGEST)
        if sum(self._models.count_message(m, chosen.model) for m in whole) <= room:
            return whole
        return prompts.summarise(chunk.messages, most=room * _CHARACTERS_A_TOKEN)

    async def _keep(self, made: Mapping[str, _Kept]) -> None:
        if not made:
            return
        values = {
            _key(digest): msgspec.json.encode(
                msgspec.structs.replace(one, text=self._redact(one.text))
            )
            for digest, one in made.items()
        }
        try:
            await self._cache.put_many(values)
        except StoreError:
            return  # the answer is worth more than the next one's price


def _key(digest: str) -> CacheKey:
    return CacheKey(sha256=digest, kind="summary", version=prompts.SUMMARY_VERSION)
