"""Where Aiex keeps what is its own, apart from every project."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from aiex.app.config import from_home, user_file_or_none
from aiex.app.secret_files import SealedFile
from aiex.app.settings import StateSettings
from aiex.core import ConfigurationError

__all__ = ["Places", "further_roots", "places_of", "sealed_file"]

_log = logging.getLogger(__name__)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Folders and files, which need not exist yet.

    Attributes:
        state: Folder of everything that must not be lost.
        store: The store.
        audit: Folder of the audit log.
        blobs: Folder of contents too large for the store.
        spill: Folder of records that the store could not take.
        replies: Folder of replies that could not be used.
        faults: Folder of what is known of faults of Aiex itself.
        models: Folder of the embedded models.
        token: File of the token that this machine's own clients show the server.
        pepper: Secret that the keys of the gateway are proved with.
        index: Folder of the indexes of projects, which can be built anew.
        writers: Folder of the locks of processes that answer in sessions.
        prices: Price table that `model update` derived; the shipped one counts without it.
    """

    state: Path
    store: Path
    audit: Path
    blobs: Path
    spill: Path
    replies: Path
    faults: Path
    models: Path
    token: Path
    pepper: Path
    index: Path
    writers: Path
    prices: Path


def places_of(settings: StateSettings) -> Places:
    """Return the places that *settings* name, or those that the system keeps for programs.

    Raises:
        ConfigurationError: Neither the settings nor the system name any.
    """
    if settings.directory is not None:
        state = _absolute(settings.directory)
        models = state / "models"
        index = state / "index"
    else:
        from platformdirs import user_cache_path, user_data_path, user_state_path

        instead = "AIEX_STATE_DIRECTORY to a folder"
        state = from_home(lambda: user_state_path("aiex"), instead)
        models = from_home(lambda: user_data_path("aiex") / "models", instead)
        index = from_home(lambda: user_cache_path("aiex") / "index", instead)
    if settings.models is not None:
        models = _absolute(settings.models)
    return Places(
        state=state,
        store=state / "aiex.db",
        audit=state / "audit",
        blobs=state / "blobs",
        spill=state / "spill",
        replies=state / "replies",
        faults=state / "faults",
        models=models,
        token=state / "server.token",
        pepper=state / "gateway.pepper",
        index=index,
        writers=state / "writers",
        prices=state / "prices.json",
    )


def further_roots(key: str, folders: Sequence[str]) -> list[Path]:
    """Return the folders of a setting that are there; the others are named in the log.

    Args:
        key: The setting.
        folders: Its value.

    Raises:
        ConfigurationError: One of them is not absolute: it would depend on where a command is run.
    """
    found = []
    for folder in folders:
        path = _absolute(folder)
        if not folder.startswith(("/", "~")):
            raise ConfigurationError(
                f"{key}: {folder!r} is no absolute path", hint=f"write {path}, if you mean that"
            )
        if path.is_dir():
            found.append(path)
        else:
            _log.warning("%s: %s is no folder, and is left out", key, folder)
    return found


def sealed_file(env: Mapping[str, str]) -> SealedFile | None:
    """Return the file of sealed keys, beside the user's settings; `None` where no home is known."""
    settings = user_file_or_none(env)
    return None if settings is None else SealedFile(settings.with_name("keys.sealed"))


def _absolute(folder: str) -> Path:
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(f"{folder}: {error}", hint="write the folder in full") from error
