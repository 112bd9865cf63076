"""What each verb is asked: the arguments that a door encodes and the verb decodes, once."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.audit import AuditQuery
from aiex.core.findings import Severity
from aiex.core.messages import ModelCall
from aiex.core.results_explain import ShownContext
from aiex.core.sessions import Entry, SessionDocument
from aiex.core.types import PrincipalRole, When

__all__ = [
    "AnalyzeArguments",
    "AuditArguments",
    "BudgetArguments",
    "ChangeArguments",
    "ChatArguments",
    "CompleteArguments",
    "ContextArguments",
    "CreateModuleArguments",
    "CreateProjectArguments",
    "DoctorArguments",
    "ExplainArguments",
    "KeyArguments",
    "ModelArguments",
    "SandboxArguments",
    "SessionArguments",
    "TurnArguments",
    "WantedSession",
]


class ExplainArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to explain.

    Attributes:
        kind: `code` for a file, a place, a definition or *text*; `error` for a traceback in
            *text*; `diff` for what changed since *base*.
        path: File as the user wrote it, relative to the root or absolute; `None` for *text*.
        line: Line whose innermost definition is meant, 1-based; `None` for the whole.
        symbol: Name of the definition that is meant; `None` for the whole.
        text: Code or traceback from standard input; with *path* or *question* it is attached.
        language: Language of *text*; `None` to find out.
        base: Revision that a diff is against; `None` for the last commit.
        detail: For whom.
        focus: What to look at most; `None` for everything.
        facts_only: Whether to leave the model out.
        question: What the user asks in words; `None` for a plain explanation.
    """

    kind: Literal["code", "error", "diff"] = "code"
    path: str | None = None
    line: int | None = None
    symbol: str | None = None
    text: str | None = None
    language: str | None = None
    base: str | None = None
    detail: Literal["basic", "intermediate", "advanced"] = "intermediate"
    focus: Literal["architecture", "patterns", "performance", "security"] | None = None
    facts_only: bool = False
    question: str | None = None


class AnalyzeArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to analyse.

    Attributes:
        kind: `code`, `deps`, `hotspots`, `graph`, or `diff` for only what a change adds.
        paths: Files and folders, relative to the root or absolute; empty for the whole root.
        base: Revision that a diff is against; `None` for the merge base with the main branch,
            else the last commit.
        outdated: Ask the registries for newer versions (deps).
        security: Ask the OSV database for known vulnerabilities (deps).
        since: Oldest commit that counts for churn, as git reads dates; `None` for a year.
        fail_on: Least severity at which findings make the exit status 1; `None` for never.
        most: Most entries of each ranking.
    """

    kind: Literal["code", "deps", "hotspots", "graph", "diff"] = "code"
    paths: tuple[str, ...] = ()
    base: str | None = None
    outdated: bool = False
    security: bool = False
    since: str | None = None
    fail_on: Severity | None = None
    most: int = 10


class CreateModuleArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A module to write.

    Attributes:
        name: Name as the language writes it: `shop.cart`, `Shop.Cart`.
        description: What it shall do, in the user's words.
        attached: Text that goes with the description, from standard input; `None` without.
        language: Its language; `None` to take the project's.
        path: Where it shall stand, relative to the root; `None` for the usual place.
        tests: Whether to write tests too.
        docs: Whether to write a page of documentation too.
        apply: Whether to write the files, once they were shown.
        overwrite: Whether existing files may be replaced.
        max_repairs: How often a reply that cannot be used is asked for again.
    """

    name: str
    description: str
    attached: str | None = None
    language: str | None = None
    path: str | None = None
    tests: bool = False
    docs: bool = False
    apply: bool = False
    overwrite: bool = False
    max_repairs: int = 2


class CreateProjectArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A project to begin.

    Attributes:
        name: Name of the project and of its new folder.
        language: Its language.
    """

    name: str
    language: str = "python"


class ChangeArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with stored proposals.

    Attributes:
        action: `list` them, `show` one with its files, its `diff` alone, or `apply` it.
        id: Identifier, or a beginning of it that only one has; `None` for `list`.
        overwrite: Whether existing files may be replaced where the proposal makes new ones.
        check_only: Whether `apply` only says if it could.
    """

    action: Literal["list", "show", "diff", "apply"]
    id: str | None = None
    overwrite: bool = False
    check_only: bool = False


class ModelArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with models.

    Attributes:
        action: `list` what is there, `pull` a local one, `use` one from now on, `test` whether
            one answers, or `update` the price table.
        name: Model as `provider:model` or a bare name; `None` for `list` and `update`.
        url: Address of a GGUF file to pull; `None` for one of the catalogue.
        sha256: Its digest, 64 hexadecimal digits; needed with *url*.
    """

    action: Literal["list", "pull", "use", "test", "update"]
    name: str | None = None
    url: str | None = None
    sha256: str | None = None


class SandboxArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to find out about the sandbox.

    Attributes:
        action: Its `status`, or a `test` of live escapes.
        level: Level to test; `None` for the one that commands run at.
    """

    action: Literal["status", "test"]
    level: Literal["none", "landlock", "bwrap"] | None = None


class ContextArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with the index of the project.

    Attributes:
        action: Bring it up to date (`index`), look for pieces that answer *query* (`search`), put
            them together in a text (`pack`), outline the project (`map`), say how much is indexed
            (`status`), or delete the index (`forget`).
        query: A question, an error, a name or the message of a change; for `search` and `pack`.
        limit: Most pieces that `search` gives.
        budget: Most tokens of the text of `pack` and `map`.
        rebuild: Whether `index` reads every file again.
    """

    action: Literal["index", "search", "pack", "map", "status", "forget"]
    query: str = ""
    limit: int = 10
    budget: int = 8000
    rebuild: bool = False


class AuditArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with the audit log.

    Attributes:
        action: Show the newest records (`tail`), those that something is true of (`search`),
            check that all are as they were written (`verify`), or write them out (`export`).
        query: Which records; for `tail`, `search` and `export`.
        most: Most records that `tail` and `search` show.
        since_seq: Number of the first record that `verify` and `export` look at.
        anchor: File that the checkpoints were sent to, for `verify`; `None` for the configured one.
        form: What `export` writes, a JSON object a line: `ocsf` events, or the records as they are.
    """

    action: Literal["tail", "search", "verify", "export"]
    query: AuditQuery = AuditQuery()
    most: int = 20
    since_seq: int = 1
    anchor: str | None = None
    form: Literal["ocsf", "raw"] = "ocsf"


class DoctorArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing to choose."""


class CompleteArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's answer, to what a client wrote in its own wire or to a call of our own.

    With the request's `passthrough` the answer comes as `WireBytes` in that wire; with *call* as
    `ModelDelta` events; the other of the two is absent.

    Attributes:
        kind: The next reply (`complete`), the tokens of the prompt (`count`), or vectors of
            texts (`embed`).
        model: Model that the client named: `provider:model`, a bare name or an alias; empty for
            the default.
        stream: Whether the client wants a stream.
        max_output_tokens: Most tokens of the reply that the client wants; `None` if it set none.
        affinity: Name under which calls of one conversation belong together; empty for none.
        call: The call; `None` where there is a passthrough.
    """

    kind: Literal["complete", "count", "embed"] = "complete"
    model: str = ""
    stream: bool = False
    max_output_tokens: int | None = None
    affinity: str = ""
    call: ModelCall | None = None


class KeyArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with the keys of the gateway.

    Attributes:
        action: `create` one, `list` them, or `revoke` one.
        id: Identifier of the key to revoke, or of the new one.
        digest: SHA-256 of the new key, hexadecimal. The door makes the key (`core.new_key`) and
            shows it to who asks, so that it stands in no request and in no event.
        user: Who the new key is for; empty for who asks.
        team: Team whose limits and budget count too; `None` without one.
        name: What the key is for, in a few words.
        roles: What its bearer may do.
        models: Models that it may ask, as `provider:model` patterns with `*`; empty for all.
        expires: Aware UTC time from which it is not taken any more; `None` for never.
        requests_per_minute: Most requests with the new key; `None` for no limit of its own.
        tokens_per_minute: Most tokens with the new key; `None` for no limit of its own.
        concurrency: Most calls at a time with the new key; `None` for no limit of its own.
    """

    action: Literal["create", "list", "revoke"]
    id: str = ""
    digest: str = ""
    user: str = ""
    team: str | None = None
    name: str = ""
    roles: tuple[PrincipalRole, ...] = ("developer",)
    models: tuple[str, ...] = ()
    expires: When | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class BudgetArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with budgets.

    Attributes:
        action: `show` what is left, `set` or remove one, or `report` what was spent.
        scope: Whose budget: `all`, `user:NAME`, `team:NAME`, `key:ID`, `provider:NAME` or
            `model:PROVIDER:MODEL`; `*` as a name stands for each one of its own.
        amount: Micro-dollars a period; `None` with `set` removes the budget.
        per: Length of the period, of the calendar in UTC.
        by: What `report` sums by.
        since: Aware UTC time that `report` begins at; `None` for the first of this month.
        until: Aware UTC time that `report` ends before; `None` for now.
    """

    action: Literal["show", "set", "report"]
    scope: str = "all"
    amount: int | None = None
    per: Literal["day", "week", "month"] = "month"
    by: Literal["provider", "model", "user", "team", "key", "day"] = "provider"
    since: When | None = None
    until: When | None = None


class WantedSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which session a turn belongs to.

    Attributes:
        id: Identifier, or a beginning of it that only one has; empty for a new session.
        latest: Whether the newest session of *project* is meant, where *id* is empty.
        fork: Whether a copy of it is meant, which is made.
        after: Number of its last turn as the writer knows it; `None` for whatever it is.
        project: Identifier of the project.
        root: Absolute path of its root on the caller's machine; empty without one.
        model: Model that is named from now on; `None` to leave that as it is.
    """

    id: str = ""
    latest: bool = False
    fork: bool = False
    after: int | None = None
    project: str = ""
    root: str = ""
    model: str | None = None


class ChatArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said next, and in which session.

    Attributes:
        text: What the user says.
        attached: Text that goes with it, from standard input; `None` without.
        session: Identifier, or a beginning of it that only one has; empty for a new session.
        latest: Whether the newest session of the project is meant, where *session* is empty.
        fork: Whether to go on in a copy.
        after: Number of the last turn that the user has seen; `None` for whatever it is. A
            session that has more by now is not gone on with.
    """

    text: str
    attached: str | None = None
    session: str = ""
    latest: bool = False
    fork: bool = False
    after: int | None = None


class SessionArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with sessions.

    Attributes:
        action: `list` them, `show` or `export` one, `import` one, `delete` one, `share` it with
            another user, or hand it off to them.
        id: Identifier, or a beginning of it that only one has; empty for `list` and `import`.
        user: Who it is shared with or handed off to.
        remove: Whether `share` takes the right to read back.
        everybody: Whether `list` names everybody's, which takes the role admin.
        project: Project whose sessions are listed; `None` for all.
        most: Most sessions that are listed.
        document: What is imported; `None` elsewhere.
    """

    action: Literal["list", "show", "export", "import", "delete", "share", "handoff"]
    id: str = ""
    user: str = ""
    remove: bool = False
    everybody: bool = False
    project: str | None = None
    most: int = 50
    document: SessionDocument | None = None


class TurnArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process that answers in a session asks of what keeps it.

    Attributes:
        action: `read` the session, `begin` a turn in it, `write` what was said by now, `renew`
            the right to write, or `end` the turn.
        writer: Name of the process, the same for all that it writes.
        wanted: The session, for `read` and `begin`.
        request_id: Request that is answered, for `begin`.
        interface: Door that it came through, for `begin`.
        title: Title of the session if it is a new one.
        session: Identifier of the session, whole, for the others.
        turn: Number of the turn, for the others.
        revision: Revision of the turn, for the others.
        token: Fencing token of the turn, for the others.
        first: Place of the first of *entries* in the turn.
        entries: Messages that are new or longer by now; for `begin`, the user's.
        is_done: Whether the turn is answered when it ends; else it is broken off.
        note: Why it was broken off.
        model: Who answered, as `provider:model`.
        shown: What of the project the model was shown.
    """

    action: Literal["read", "begin", "write", "renew", "end"]
    writer: str = ""
    wanted: WantedSession = WantedSession()
    request_id: str = ""
    interface: str = ""
    title: str = ""
    session: str = ""
    turn: int = 0
    revision: int = 0
    token: int = 0
    first: int = 0
    entries: tuple[Entry, ...] = ()
    is_done: bool = False
    note: str = ""
    model: str | None = None
    shown: tuple[ShownContext, ...] = ()
