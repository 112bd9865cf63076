"""Every setting there is, as one frozen tree: what it means, what it is by default, who may set it.

A setting marked with the scope `user` cannot be set by a project's files: they come from whoever
wrote the repository, and such a setting decides where code and keys go or what may be touched.
One marked with the scope `narrow` can be set by them, and counts only as far as it narrows what
the user allows: the lower limit, the stricter word, both lists.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Final, Literal

import msgspec

from aiex.core import SCOPES, is_scope

__all__ = [
    "BUILT_IN",
    "AnalysisSettings",
    "CliSettings",
    "LimitSettings",
    "ModelSettings",
    "ProviderSettings",
    "SandboxSettings",
    "ServedModel",
    "ServerSettings",
    "Settings",
    "StateSettings",
    "TelemetrySettings",
]

_USER = {"scope": "user"}
_NARROW = {"scope": "narrow"}

BUILT_IN: Final = ("anthropic", "openai", "ollama", "lm_studio", "local")
"""Providers that there are without a table of their own."""

Capability = Literal["tools", "vision", "thinking"]
StrategyName = Literal[
    "in_order", "random", "round_robin", "load_balanced", "local_affinity", "cost", "latency"
]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _meta(
    description: str, *, user: bool = False, narrow: bool = False, above: int | None = None
) -> msgspec.Meta:
    extra = _USER if user else _NARROW if narrow else {}
    return msgspec.Meta(description=description, extra=extra, gt=above)


class ServedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a model of a named provider."""

    context_tokens: Annotated[
        Annotated[int, msgspec.Meta(gt=0)] | None,
        _meta("Window of the model in tokens; absent: asked or looked up."),
    ] = None
    capabilities: Annotated[
        tuple[Capability, ...],
        _meta("What the model can do; absent: it is taken to be able to do everything."),
    ] = ()
    input_price: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        _meta("US dollars a million tokens of prompt; absent: looked up."),
    ] = None
    output_price: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        _meta("US dollars a million tokens of reply; absent: looked up."),
    ] = None

    def __post_init__(self) -> None:
        if (self.input_price is None) != (self.output_price is None):
            raise ValueError("input_price and output_price are only known together")


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider that the user names: a server, or a further key of one."""

    kind: Annotated[
        Literal["openai", "anthropic", "ollama", "lm_studio"], _meta("What it speaks.", user=True)
    ]
    url: Annotated[
        str | None, _meta("Its address; absent: that of the built-in one of its kind.", user=True)
    ] = None
    api: Annotated[
        Literal["chat", "responses"],
        _meta("Which of OpenAI's two wires to speak, for the kind openai.", user=True),
    ] = "chat"
    model: Annotated[
        str | None, _meta("Its model to use when only the provider is named.", user=True)
    ] = None
    models: Annotated[
        dict[str, ServedModel], _meta("What is known of its models, by their names.", user=True)
    ] = {}
    key_variable: Annotated[
        str | None,
        _meta(
            "Environment variable that its key is looked for in last; absent: its name in "
            "capitals and _API_KEY.",
            user=True,
        ),
    ] = None
    node: Annotated[str, _meta("Machine that it is on; `local` for this one.", user=True)] = "local"

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url is no http(s) address: {self.url!r}")
        if self.key_variable is not None and not _VARIABLE.fullmatch(self.key_variable):
            raise ValueError(f"key_variable is no name of a variable: {self.key_variable!r}")


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models are asked, where, and for how long."""

    default: Annotated[
        str | None,
        _meta("Model to use when none is named, as provider:model or an alias.", user=True),
    ] = None
    order: Annotated[
        tuple[str, ...],
        _meta(
            "Providers in the order in which they are tried when none is named. A built-in one "
            "that is not in it is never asked; those of [providers] that are not come last.",
            user=True,
        ),
    ] = BUILT_IN
    aliases: Annotated[
        dict[str, tuple[str | tuple[str, ...], ...]],
        _meta(
            "Names that stand for models, each tried where the one before it failed: provider:model"
            " or a bare name. A list in the list is one step whose models are as good as one "
            "another.",
            user=True,
        ),
    ] = {}
    strategy: Annotated[
        StrategyName,
        _meta("How one of several that can answer is chosen, within a step.", user=True),
    ] = "in_order"
    openai_model: Annotated[str, _meta("Model of OpenAI to use when only it is named.")] = (
        "gpt-5.4-mini"
    )
    anthropic_model: Annotated[str, _meta("Model of Anthropic to use when only it is named.")] = (
        "claude-haiku-5-5"
    )
    local_model: Annotated[str, _meta("Embedded model to use when only `local` is named.")] = (
        "smollm2-135m"
    )
    local_window: Annotated[
        int,
        _meta(
            "Most tokens of an embedded model's window: memory is taken for all of them, and a "
            "processor reads a few hundred a second.",
            user=True,
            above=0,
        ),
    ] = 4096
    openai_url: Annotated[
        str, _meta("Address of OpenAI or of a server that speaks its wire.", user=True)
    ] = "https://api.openai.com/v1"
    openai_api: Annotated[
        Literal["chat", "responses"], _meta("Which of OpenAI's two wires to speak.", user=True)
    ] = "chat"
    anthropic_url: Annotated[str, _meta("Address of Anthropic.", user=True)] = (
        "https://api.anthropic.com"
    )
    ollama_url: Annotated[str, _meta("Address of Ollama.", user=True)] = "http://127.0.0.1:11434"
    lm_studio_url: Annotated[str, _meta("Address of LM Studio.", user=True)] = (
        "http://127.0.0.1:1234"
    )
    keyring: Annotated[
        tuple[str, ...],
        _meta(
            "Providers whose key is in the system's keyring, under the service aiex. It is looked "
            "for there before the encrypted file and the environment, and nowhere else instead.",
            user=True,
        ),
    ] = ()
    connect_timeout: Annotated[float, _meta("Seconds to wait for a connection.", above=0)] = 5.0
    first_token_timeout: Annotated[
        float, _meta("Seconds to wait for the first token; a model may have to load.", above=0)
    ] = 120.0
    between_timeout: Annotated[float, _meta("Seconds to wait between two tokens.", above=0)] = 60.0
    total_timeout: Annotated[
        float, _meta("Seconds that one question may take, retries included.", above=0)
    ] = 600.0


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that may be asked of models; whoever it is for, over all processes together."""

    scope: Annotated[
        str,
        _meta(
            "Whose use it is: all, user:NAME, team:NAME, key:ID, provider:NAME or "
            "model:PROVIDER:MODEL; * as a name means each one of its own.",
            user=True,
        ),
    ] = "all"
    requests: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        _meta("Most calls of models in any window; absent: no limit.", user=True),
    ] = None
    tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        _meta(
            "Most tokens of prompts and replies together in any window; absent: no limit.",
            user=True,
        ),
    ] = None
    concurrency: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        _meta("Most calls at a time; absent: no limit.", user=True),
    ] = None
    per: Annotated[
        Literal["minute", "hour", "day", "week", "month"],
        _meta(
            "The window: any minute or hour, wherever it begins, or a day, week or month of the "
            "calendar in UTC.",
            user=True,
        ),
    ] = "minute"
    on_store_loss: Annotated[
        Literal["local_share", "deny"],
        _meta(
            "What holds while the store cannot be reached: each process goes on with its part of "
            "the limit, or with nothing.",
            user=True,
        ),
    ] = "local_share"

    def __post_init__(self) -> None:
        if not is_scope(self.scope):
            raise ValueError(f"scope is none that there is: {self.scope!r}; expected {SCOPES}")
        if self.requests is None and self.tokens is None and self.concurrency is None:
            raise ValueError("it limits nothing: set requests, tokens or concurrency")


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a project may be touched."""

    roots: Annotated[
        tuple[str, ...],
        _meta(
            "Further folders that are read and written, besides the project's; absolute, or from "
            "the home folder with ~.",
            user=True,
        ),
    ] = ()
    readable: Annotated[
        tuple[str, ...],
        _meta(
            "Further folders that are only read; absolute, or from the home folder with ~.",
            user=True,
        ),
    ] = ()
    hardlinks: Annotated[
        Literal["deny", "read"],
        _meta("Whether files with several names may be read; they are never written.", narrow=True),
    ] = "read"
    max_file_bytes: Annotated[
        int, _meta("Largest file that is read or written, bytes.", narrow=True, above=0)
    ] = 64 << 20
    max_total_bytes: Annotated[
        int, _meta("Most bytes that one operation reads.", narrow=True, above=0)
    ] = 512 << 20
    max_entries: Annotated[
        int, _meta("Most entries that one listing looks at.", narrow=True, above=0)
    ] = 500_000
    protected: Annotated[
        tuple[str, ...],
        _meta("Further names that are neither read nor written, at any depth.", narrow=True),
    ] = ()
    read_only: Annotated[
        tuple[str, ...],
        _meta(
            "Patterns, as in .gitignore and none with !, of what is read and never written.",
            narrow=True,
        ),
    ] = ()
    require: Annotated[
        Literal["none", "landlock", "bwrap"],
        _meta(
            "Weakest isolation that a command may run at; below it nothing runs. By default "
            "`landlock` on Linux, and `none` where there is no other level.",
            narrow=True,
        ),
    ] = "landlock" if os.uname().sysname == "Linux" else "none"
    tools: Annotated[
        tuple[str, ...],
        _meta("Further files and folders with tools that commands may read.", user=True),
    ] = ()
    max_processes: Annotated[int, _meta("Most processes of one command.", user=True, above=0)] = 512
    max_memory_bytes: Annotated[
        int, _meta("Most memory of one command, all its processes together.", user=True, above=0)
    ] = 4 << 30


class AnalysisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `analyze` looks for."""

    max_complexity: Annotated[
        int, _meta("Cyclomatic complexity above which a function is a finding.", above=0)
    ] = 10
    versions_url: Annotated[
        str, _meta("Address of the deps.dev API, which knows newer versions.", user=True)
    ] = "https://api.deps.dev/v3"
    osv_url: Annotated[
        str, _meta("Address of the OSV API, which knows vulnerabilities.", user=True)
    ] = "https://api.osv.dev/v1"


class StateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where Aiex keeps what is its own."""

    directory: Annotated[
        str | None,
        _meta(
            "Folder of the store, the audit log and the journal; absent: the system's.", user=True
        ),
    ] = None
    models: Annotated[
        str | None, _meta("Folder of the embedded models; absent: the system's.", user=True)
    ] = None
    audit_anchor: Annotated[
        str | None,
        _meta(
            "File that the signed checkpoints of the audit log are appended to, best on another "
            "machine's disk: it shows when an older state was put back. Absent: beside the log.",
            user=True,
        ),
    ] = None
    fsync: Annotated[
        bool,
        _meta(
            "Whether every transaction is on disk before it counts: survives a power cut, and "
            "costs some milliseconds each.",
            user=True,
        ),
    ] = False


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How `aiex serve` listens, and how much of what it is sent it takes."""

    host: Annotated[
        str,
        _meta(
            "Address to listen at; one beyond this machine needs TLS, or a proxy that has it.",
            user=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[int, _meta("Port to listen at; 0 for any free one.", user=True, above=-1)] = (
        2439
    )
    socket: Annotated[
        str | None,
        _meta("Path of a Unix socket to listen at instead of an address.", user=True),
    ] = None
    workers: Annotated[int, _meta("Processes that serve.", user=True, above=0)] = 1
    hosts: Annotated[
        tuple[str, ...],
        _meta(
            "Further names that clients may know the server by; a request to another name is "
            "refused.",
            user=True,
        ),
    ] = ()
    tls_cert: Annotated[
        str | None, _meta("File of the TLS certificate and its chain, PEM.", user=True)
    ] = None
    tls_key: Annotated[str | None, _meta("File of the certificate's key, PEM.", user=True)] = None
    plain_behind_tls_proxy: Annotated[
        bool,
        _meta(
            "Whether to listen without TLS beyond this machine, because a proxy in front has it.",
            user=True,
        ),
    ] = False
    drain_seconds: Annotated[
        float, _meta("Seconds that running requests have to end in at a stop.", user=True, above=0)
    ] = 30.0
    max_connections: Annotated[
        int, _meta("Most open connections of one process.", user=True, above=0)
    ] = 8192
    max_header_bytes: Annotated[
        int, _meta("Most bytes of a request's head.", user=True, above=0)
    ] = 32 << 10
    max_headers: Annotated[int, _meta("Most headers of a request.", user=True, above=0)] = 100
    header_seconds: Annotated[
        float, _meta("Seconds that the head of a request may take.", user=True, above=0)
    ] = 10.0
    max_body_bytes: Annotated[int, _meta("Most bytes of a request's body.", user=True, above=0)] = (
        32 << 20
    )
    body_seconds: Annotated[
        float, _meta("Seconds that the body of a request may take.", user=True, above=0)
    ] = 60.0
    idle_seconds: Annotated[
        float, _meta("Seconds that a connection may wait for a request.", user=True, above=0)
    ] = 75.0
    unread_seconds: Annotated[
        float,
        _meta(
            "Seconds that a client may leave unread what it was sent before it is let go.",
            user=True,
            above=0,
        ),
    ] = 120.0


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What OpenTelemetry is told of calls of models."""

    endpoint: Annotated[
        str | None,
        _meta(
            "Address of the collector that traces and metrics go to by OTLP over HTTP, such as "
            "http://127.0.0.1:4318; absent: none are made.",
            user=True,
        ),
    ] = None
    content: Annotated[
        bool,
        _meta(
            "Whether prompt and reply go along with the trace of a call whose prompts are "
            "recorded; secrets are taken out.",
            user=True,
        ),
    ] = False

    def __post_init__(self) -> None:
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint is no http(s) address: {self.endpoint!r}")


class CliSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the command line behaves."""

    color: Annotated[Literal["auto", "always", "never"], _meta("When to use colour.")] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _meta("Least level of log lines on stderr.", user=True),
    ] = "warning"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole tree."""

    model: ModelSettings = ModelSettings()
    providers: Annotated[
        dict[str, ProviderSettings],
        _meta("Further providers, each under a name of one's own.", user=True),
    ] = {}
    limits: Annotated[
        dict[str, LimitSettings],
        _meta("How much may be asked of models, each limit under a name of one's own.", user=True),
    ] = {}
    sandbox: SandboxSettings = SandboxSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    state: StateSettings = StateSettings()
    server: ServerSettings = ServerSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    cli: CliSettings = CliSettings()
