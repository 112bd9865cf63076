"""How often each file changed, from a history that need not be there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from aiex.assistant.project import OpenGit
from aiex.context import AnalysisCache, CacheKey
from aiex.core import NotChecked, NotFoundError, StoreError, content_id
from aiex.sandbox import Churn, Repository

__all__ = ["SINCE", "History", "HistoryReader"]

SINCE = "1 year ago"
"""Oldest commit that counts for churn where none is named."""

_DECODE = msgspec.json.Decoder(dict[str, Churn]).decode
_VERSION = "1"


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the changes of a project.

    Attributes:
        churn: How much each file changed, by path.
        not_checked: What of the history is missing.
    """

    churn: dict[str, Churn]
    not_checked: tuple[NotChecked, ...] = ()


class HistoryReader:
    """Reads how often files changed, once for each commit that is checked out.

    Args:
        open_git: Opens the history of a root.
        cache: Keeps what was read.
        now: Wall time, aware: what "a year ago" is moves with the days.
    """

    def __init__(
        self, open_git: OpenGit, cache: AnalysisCache, *, now: Callable[[], datetime]
    ) -> None:
        self._open_git = open_git
        self._cache = cache
        self._now = now

    async def read(self, root: str, since: str | None, *, use_cache: bool) -> History:
        """Return the changes of the files below *root*; what is missing is named, never raised.

        Args:
            root: Absolute path of the project.
            since: Oldest commit that counts, as git reads dates; `None` for a year.
            use_cache: Whether what was read before may be used.
        """
        git = self._open_git(Path(root))
        try:
            repository = await git.repository()
            if repository is None:
                return _missing("this is no git repository")
            if repository.head is None:
                return _missing("the repository has no commit yet")
            key = self._key(repository, since or SINCE)
            kept = (await self._cache.get_many([key]))[0] if use_cache else None
            churn = _DECODE(kept) if kept else await git.churn(since or SINCE)
        except NotFoundError as error:
            return _missing(error.message)
        if kept is None and use_cache:
            await self._keep(key, churn)
        return History(churn=churn, not_checked=_limits(repository, churn))

    def _key(self, repository: Repository, since: str) -> CacheKey:
        day = self._now().date().isoformat()
        place = (repository.head or "", repository.prefix, str(repository.is_shallow))
        digest = content_id(*place, since, day, digits=64)
        return CacheKey(sha256=digest, kind="churn", version=_VERSION)

    async def _keep(self, key: CacheKey, churn: dict[str, Churn]) -> None:
        try:
            await self._cache.put_many({key: msgspec.json.encode(churn)})
        except StoreError:
            return  # a cache that cannot be written costs time, never the answer


def _missing(reason: str) -> History:
    return History(churn={}, not_checked=(NotChecked(what="hotspots", reason=reason, tool="git"),))


def _limits(repository: Repository, churn: dict[str, Churn]) -> tuple[NotChecked, ...]:
    notes = []
    if repository.is_shallow:
        reason = "the clone is shallow; git fetch --unshallow gets the rest"
        notes.append(NotChecked(what="changes before the clone", reason=reason, tool="git"))
    if not churn:
        reason = "no commit in the time looked at changed a file; --since looks further back"
        notes.append(NotChecked(what="hotspots", reason=reason, tool="git"))
    return tuple(notes)
