"""The secrets that are known from the start, and what of the environment a child of ours gets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from aiex.app.keys import variables_of
from aiex.app.settings import Settings
from aiex.core import Redactor, is_secret_name, logins_in, secrets_of

__all__ = ["environment_of_child", "redactor_of"]

# What a program needs to start, to write a path and a time, and to reach the network as told.
_FOR_EVERY_CHILD: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"}
)
_EVERY_CHILD_PREFIXES: Final = ("LC_", "XDG_")
# How a processor or a graphics card is used, and where their libraries are.
_SERVER_PREFIXES: Final = (
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHON", "VIRTUAL_ENV", "OMP_", "GOMP_", "KMP_"),
    *("GGML_", "LLAMA_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "GPU_", "VK_", "MESA_"),
)
# UV_PUBLISH_* and the like are for writing to an index, which we never do.
_UV_PREFIXES: Final = ("UV_", "SSL_CERT_", "NETRC", "DBUS_SESSION_BUS_ADDRESS", "VIRTUAL_ENV")
_NOT_FOR_UV: Final = re.compile("^UV_(?:PUBLISH|GITHUB|HF)_")
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


def redactor_of(env: Mapping[str, str], settings: Settings | None = None) -> Redactor:
    """Return what masks the secrets of the environment and the logins in the settings.

    Args:
        env: Environment variables.
        settings: The settings in force; `None` while they are not known.
    """
    redactor = Redactor(secrets_of(env))
    for variable in () if settings is None else variables_of(settings).values():
        if key := env.get(variable, "").strip():  # the user may have named it as no key is named
            redactor.hold(key)
    for text in () if settings is None else _texts(msgspec.to_builtins(settings)):
        for secret in logins_in(text):
            redactor.hold(secret)
    return redactor


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def environment_of_child(env: Mapping[str, str], *, of_uv: bool = False) -> dict[str, str]:
    """Return what a server of ours gets of *env*, or uv: no key, but for uv the logins of indexes.

    Args:
        env: Environment variables.
        of_uv: Whether the child is uv, which looks packages up.
    """
    prefixes = _EVERY_CHILD_PREFIXES + (_UV_PREFIXES if of_uv else _SERVER_PREFIXES)

    def passes(name: str) -> bool:
        if of_uv and name.lower() in _PROXIES:
            return True
        if name in _FOR_EVERY_CHILD:
            return True
        if not name.startswith(prefixes) or _NOT_FOR_UV.match(name):
            return False
        return of_uv or not is_secret_name(name)

    return {name: value for name, value in env.items() if passes(name)}
