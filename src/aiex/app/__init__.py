"""The composition root: settings once, backends by name, opened in order."""

from aiex.app.compose import open_doctor, open_gateway, user_name
from aiex.app.config import (
    Loaded,
    Setting,
    all_settings,
    environment,
    find_root,
    load,
    set_user,
    user_file,
    values_of,
)
from aiex.app.key_store import KeyStore
from aiex.app.keys import Ask
from aiex.app.masking import redactor_of
from aiex.app.places import places_of
from aiex.app.serving import OwnToken, open_node
from aiex.app.settings import ServerSettings
from aiex.app.workers import run_workers

__all__ = [
    "Ask",
    "KeyStore",
    "Loaded",
    "OwnToken",
    "ServerSettings",
    "Setting",
    "all_settings",
    "environment",
    "find_root",
    "load",
    "open_doctor",
    "open_gateway",
    "open_node",
    "places_of",
    "redactor_of",
    "run_workers",
    "set_user",
    "user_file",
    "user_name",
    "values_of",
]
