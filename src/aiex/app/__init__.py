"""The composition root: settings once, backends by name, opened in order."""

from aiex.app.compose import open_gateway, user_name
from aiex.app.config import (
    Loaded,
    Setting,
    all_settings,
    environment,
    find_root,
    load,
    set_user,
    user_file,
)

__all__ = [
    "Loaded",
    "Setting",
    "all_settings",
    "environment",
    "find_root",
    "load",
    "open_gateway",
    "set_user",
    "user_file",
    "user_name",
]
