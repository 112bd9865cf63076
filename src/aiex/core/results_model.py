"""What `model` answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.results_explain import CostEstimate

__all__ = ["KnownModelView", "ModelResult", "ModelView", "ProviderView"]


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
    """

    name: str
    context_tokens: int | None = None
    size_bytes: int | None = None
    is_default: bool = False
    sha256: str | None = None
    input_usd_per_million: str | None = None
    output_usd_per_million: str | None = None


class ProviderView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider and what it serves.

    Attributes:
        name: Its name.
        problem: What keeps it from being used; empty if nothing does.
        hint: What to do about it; empty if unknown.
        models: What it serves.
    """

    name: str
    problem: str = ""
    hint: str = ""
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
    estimates: tuple[CostEstimate, ...] = ()
    price_version: str = ""
    priced_models: int = 0
