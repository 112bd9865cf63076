"""What `model` answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.results_explain import CostEstimate
from aiex.core.types import When

__all__ = ["HealthView", "KnownModelView", "ModelResult", "ModelView", "ProviderView"]


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """How a model or a provider stands in the process that was asked.

    Attributes:
        state: `closed` while it is asked, `open` while it is left alone, `half_open` while a probe
            is to find out.
        reason: Code of the error that it is left alone for; empty if it is not.
        since: Aware UTC time since which it is left alone; `None` if it is not.
        until: Aware UTC time until which it is at least.
        in_flight: Calls under way.
        first_token_ms: Milliseconds to the first token of late; `None` if none was seen.
    """

    state: Literal["closed", "open", "half_open"] = "closed"
    reason: str = ""
    since: When | None = None
    until: When | None = None
    in_flight: int = 0
    first_token_ms: int | None = None


class ModelView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that a provider serves.

    Attributes:
        name: Name to ask for it by, as `provider:model`.
        context_tokens: Largest window; `None` if unknown.
        size_bytes: Size on disk; `None` if unknown.
        is_default: Whether it is asked when none is named.
        sha256: Digest of an embedded model's file, as it was verified; `None` elsewhere.
        input_usd_per_million: Price of a million tokens of prompt, US dollars as text; `None`
            when unpriced.
        output_usd_per_million: The same for a reply.
        capabilities: What it can do, such as `tools`; empty if unknown.
        health: Whether it is asked, and how busy it is.
    """

    name: str
    health: HealthView = HealthView()
    context_tokens: int | None = None
    size_bytes: int | None = None
    is_default: bool = False
    sha256: str | None = None
    input_usd_per_million: str | None = None
    output_usd_per_million: str | None = None
    capabilities: tuple[str, ...] = ()


class ProviderView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider and what it serves.

    Attributes:
        name: Its name.
        problem: What keeps it from being used; empty if nothing does.
        hint: What to do about it; empty if unknown.
        models: What it serves.
        node: Machine that it is on; `local` for this one, or nobody's.
        health: Whether it is asked, and how busy all its models are together.
    """

    name: str
    health: HealthView = HealthView()
    problem: str = ""
    hint: str = ""
    node: str = "local"
    models: tuple[ModelView, ...] = ()


class KnownModelView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An embedded model that can be pulled by its name.

    Attributes:
        name: Its name.
        size_bytes: Size of its file.
        licence: SPDX identifier of its licence.
        is_here: Whether it is on this machine already.
    """

    name: str
    size_bytes: int
    licence: str
    is_here: bool = False


class ModelResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for.

    Attributes:
        action: What was asked.
        providers: For `list`, every provider.
        known: For `list`, what can be pulled by name.
        name: The model that it is about, as `provider:model`.
        file: The file that was pulled, or the settings that were written.
        sha256: Digest of the file that was pulled.
        was_there: Whether there was nothing to do.
        text: For `test`, what the model said.
        ms: For `test`, milliseconds to the end of its reply.
        first_token_ms: For `test`, milliseconds to the first piece of it; `None` if none came.
        tokens_per_second: For `test`, tokens a second after that; `None` where the reply is too
            short to tell, or the provider does not count.
        aliases: For `list`, names that stand for models, and the steps of each.
        strategy: For `list`, how one of several that can answer is chosen.
        estimates: For a dry run of `test`, what it would cost at each provider.
        price_version: For `update`, the version of the price table in force.
        priced_models: For `update`, how many models it knows.
    """

    action: Literal["list", "pull", "use", "test", "update"]
    providers: tuple[ProviderView, ...] = ()
    known: tuple[KnownModelView, ...] = ()
    name: str = ""
    file: str = ""
    sha256: str = ""
    was_there: bool = False
    text: str = ""
    ms: int = 0
    first_token_ms: int | None = None
    tokens_per_second: float | None = None
    aliases: dict[str, tuple[tuple[str, ...], ...]] = {}
    strategy: str = ""
    estimates: tuple[CostEstimate, ...] = ()
    price_version: str = ""
    priced_models: int = 0
