"""Where Aiex keeps what is its own, apart from every project."""

from __future__ import annotations

from pathlib import Path

import msgspec

from aiex.app.settings import StateSettings

__all__ = ["Places", "places_of"]


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Folders and files, which need not exist yet.

    Attributes:
        state: Folder of everything that must not be lost.
        store: The store.
        audit: Folder of the audit log.
        blobs: Folder of contents too large for the store.
        spill: Folder of records that the store could not take.
        replies: Folder of replies that could not be used.
        models: Folder of the embedded models.
        prices: Price table that `model update` derived; the shipped one counts without it.
    """

    state: Path
    store: Path
    audit: Path
    blobs: Path
    spill: Path
    replies: Path
    models: Path
    prices: Path


def places_of(settings: StateSettings) -> Places:
    """Return the places that *settings* name, or those that the system keeps for programs."""
    if settings.directory is not None:
        state = Path(settings.directory).expanduser().absolute()
        models = state / "models"
    else:
        from platformdirs import user_data_path, user_state_path

        state = user_state_path("aiex")
        models = user_data_path("aiex") / "models"
    if settings.models is not None:
        models = Path(settings.models).expanduser().absolute()
    return Places(
        state=state,
        store=state / "aiex.db",
        audit=state / "audit",
        blobs=state / "blobs",
        spill=state / "spill",
        replies=state / "replies",
        models=models,
        prices=state / "prices.json",
    )
