"""Settings from where they stand: flags, environment, project, user, profile, defaults.

This is the only module that reads the environment.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from aiex.app import shapes
from aiex.app.settings import BUILT_IN, Settings
from aiex.assistant.project import looks_like_project
from aiex.core import ConfigurationError, ErrorInfo, NotFoundError, nearest, redacted

__all__ = [
    "PROFILES",
    "Loaded",
    "Setting",
    "all_settings",
    "environment",
    "find_root",
    "load",
    "set_user",
    "user_file",
    "values_of",
]

PROFILES: dict[str, dict[str, object]] = {
    "dev": {},
    "test": {"cli.log_level": "error", "cli.color": "never"},
    "prod": {"state.fsync": True, "cli.log_level": "info"},
}
"""What each profile (`AIEX_PROFILE`) sets instead of the defaults."""

_STRICTEST_FIRST: dict[str, tuple[object, ...]] = {
    "sandbox.hardlinks": ("deny", "read"),
    "sandbox.require": ("bwrap", "landlock", "none"),
}
"""The words of settings that a project's file may only make stricter."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

_KEYS_ELSEWHERE = "aiex config key set PROVIDER, or set OPENAI_API_KEY or ANTHROPIC_API_KEY"

_NO_SETTINGS = frozenset(
    {
        *("AIEX_PROFILE", "AIEX_CONFIG", "AIEX_PASSPHRASE", "AIEX_PASSPHRASE_FILE"),
        *("AIEX_SERVER", "AIEX_TOKEN", "AIEX_CA_FILE"),
    }
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of the tree.

    Attributes:
        key: Dotted name, such as `model.default`; `NAME` in it stands for a name of one's own.
        variable: Environment variable that sets it; empty for a table, which stands in the file.
        type: What it takes, in words.
        words: The words that it takes; empty where it takes others than certain ones.
        default: What it is when nothing sets it.
        description: What it means.
        user_only: Whether a project's files may not set it.
        narrows: Whether a project's files may only narrow it.
        inside: For a table, what may stand in it.
    """

    key: str
    variable: str
    type: str
    words: tuple[str, ...]
    default: object
    description: str
    user_only: bool
    narrows: bool = False
    inside: tuple[Setting, ...] = ()


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in force.

    Attributes:
        settings: The tree.
        origins: For each key that is not a default, where it was set.
        profile: Name of the profile.
        problem: What is wrong with a source that was left out, where that was allowed.
    """

    settings: Settings
    origins: dict[str, str]
    profile: str
    problem: ErrorInfo | None = None


def environment() -> dict[str, str]:
    """Return this process's environment."""
    return dict(os.environ)


@functools.cache
def all_settings() -> tuple[Setting, ...]:
    """Return every setting, in the order of the tree."""
    return tuple(_settings())


def _settings() -> Iterator[Setting]:
    for branch in msgspec.structs.fields(Settings):
        annotation = shapes.hints(Settings)[branch.name]
        if branch.name in _tables():
            yield _setting(f"{branch.name}.NAME", shapes.member(annotation, ""), {}, annotation)
            continue
        for field in msgspec.structs.fields(type(getattr(Settings(), branch.name))):
            key = f"{branch.name}.{field.name}"
            annotation = _annotation(key)
            yield _setting(key, annotation, field.default, annotation)


def _setting(key: str, annotation: Any, default: object, told: Any) -> Setting:
    """Return the setting *key*; what it means is said at *told*."""
    meta = shapes.meta_of(told)
    scope = (meta.extra or {}).get("scope")
    table = shapes.is_table(annotation)
    return Setting(
        key=key,
        variable="" if table else _variable_of(key),
        type=shapes.in_words(annotation),
        words=shapes.words_of(annotation),
        default={} if table else default,
        description=meta.description or "",
        user_only=scope == "user",
        narrows=scope == "narrow",
        inside=tuple(
            _setting(below, inner, value, inner)
            for below, inner, value in shapes.leaves(key, annotation)
        )
        if table
        else (),
    )


@functools.cache
def _tables() -> frozenset[str]:
    """Return the branches whose settings the user names."""
    return frozenset(
        name for name in Settings.__struct_fields__ if isinstance(getattr(Settings(), name), dict)
    )


def _annotation(key: str) -> Any | None:
    """Return the annotation of *key*, or of what stands below it in a table; `None` if none."""
    annotation: Any = Settings
    for name in key.split("."):
        annotation = shapes.member(annotation, name) if shapes.is_table(annotation) else None
        if annotation is None:
            return None
    return annotation


def values_of(loaded: Loaded) -> Iterator[tuple[str, Setting, object, str]]:
    """Yield key, setting, value and origin of everything that is set or could be.

    Each table of a branch whose names the user chooses counts as one; where there is none the
    setting stands for them all.
    """
    for setting in all_settings():
        branch, _, name = setting.key.partition(".")
        found: Any = getattr(loaded.settings, branch)
        if branch not in _tables():
            yield setting.key, setting, getattr(found, name), _origin(loaded, setting.key)
        elif not found:
            yield setting.key, setting, {}, "default"
        else:
            for mine, value in found.items():
                key = f"{branch}.{mine}"
                yield key, setting, value, _origin(loaded, key)


def _origin(loaded: Loaded, key: str) -> str:
    return loaded.origins.get(key, "default")


def user_file(env: Mapping[str, str]) -> Path:
    """Return the user's own configuration file, which need not exist.

    Raises:
        ConfigurationError: No home is known to look for it in.
    """
    named = env.get("AIEX_CONFIG")
    if named:
        return Path(named).absolute()
    from platformdirs import user_config_path

    return from_home(lambda: user_config_path("aiex") / "config.toml", "AIEX_CONFIG to a file")


def user_file_or_none(env: Mapping[str, str]) -> Path | None:
    """Return the user's own configuration file; `None` where no home is known."""
    try:
        return user_file(env)
    except ConfigurationError:
        return None


def from_home(find: Callable[[], Path], instead: str) -> Path:
    """Return what *find* finds below the user's home.

    Args:
        find: Asks the system.
        instead: What to set where no home is known, and to what.

    Raises:
        ConfigurationError: No home is known.
    """
    try:
        path = find()
    except RuntimeError:  # neither HOME nor an entry for this user: a bare container
        path = Path("~")
    if not path.is_absolute():  # it would lie in the current folder, which may be a project's
        raise ConfigurationError("no home folder is known", hint=f"set HOME, or {instead}")
    return path


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above *start* that looks like a project; *start* if none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if looks_like_project(folder):
            return folder
    return start


def load(
    env: Mapping[str, str],
    *,
    root: Path | None,
    flags: Mapping[str, object] | None = None,
    strict: bool = True,
) -> Loaded:
    """Return the settings in force.

    Args:
        env: Environment variables.
        root: Project whose `aiex.toml` or `pyproject.toml` counts; `None` for none.
        flags: What the command line sets, by key.
        strict: Whether anything wrong is an error. If not, a source with a mistake is left out
            as a whole and the first mistake is the result's `problem`.

    Raises:
        ConfigurationError: A file cannot be read, or a setting is unknown, wrong, or not the
            project's to set; only when *strict*.
    """
    gathered = _Gathered(strict=strict)
    profile = gathered.profile(env.get("AIEX_PROFILE", "dev"))
    user = user_file_or_none(env)
    if user is not None:
        gathered.take(str(user), lambda: _from_file(user, ()))
    if root is not None:
        gathered.take_project(root / "pyproject.toml", ("tool", "aiex"))
        gathered.take_project(root / "aiex.toml", ())
    gathered.take("environment", lambda: _from_environment(env))
    gathered.take("command line", lambda: dict(flags or {}))
    return gathered.loaded(profile)


class _Gathered:
    """What the sources say, the nearer one taking the place of the farther."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._values: dict[str, object] = {}
        self._origins: dict[str, str] = {}
        self._problem: ErrorInfo | None = None

    def profile(self, name: str) -> str:
        """Begin with the profile *name* and return the name of the one that counts."""
        if name not in PROFILES:
            known = ", ".join(PROFILES)
            self._note(ConfigurationError(f"AIEX_PROFILE is {name!r}", hint=f"expected {known}"))
            name = "dev"
        self.take(f"profile {name}", lambda: PROFILES[name])
        return name

    def take(self, origin: str, read: Callable[[], Mapping[str, object]]) -> None:
        """Let what *read* returns count; what does not fit, or cannot be read, is a problem."""
        try:
            found = read()
            _build(found, origin)
        except ConfigurationError as error:
            self._note(error)
            return
        self._values.update(found)
        self._origins.update(dict.fromkeys(found, origin))

    def take_project(self, path: Path, table: tuple[str, ...]) -> None:
        """Let a file count that came with the project: it may narrow, and never loosen."""

        def read() -> dict[str, object]:
            found = _from_file(path, table)
            if not found:
                return found
            _refuse_users(found, path)
            for setting in all_settings():
                if setting.narrows and setting.key in found:
                    _build({setting.key: found[setting.key]}, str(path))
                    mine = self._values.get(setting.key, setting.default)
                    narrowed = _narrowed(setting.key, mine, found.pop(setting.key))
                    if narrowed != mine:
                        found[setting.key] = narrowed
            return found

        self.take(str(path), read)

    def loaded(self, profile: str) -> Loaded:
        """Return the settings that come of it all."""
        settings = _build(self._values, "")
        while (wrong := _misnamed(settings)) is not None:
            key, error = wrong
            origin = self._origins.pop(key, "")
            error.message = f"{origin}: {error.message}" if origin else error.message
            self._note(error)
            del self._values[key]
            settings = _build(self._values, "")
        return Loaded(
            settings=settings,
            origins=self._origins,
            profile=profile,
            problem=self._problem,
        )

    def _note(self, error: ConfigurationError) -> None:
        if self._strict:
            raise error
        self._problem = self._problem or error.info()


def _misnamed(settings: Settings) -> tuple[str, ConfigurationError] | None:
    """Return a setting with a name that cannot be, or is nobody's, and what to say of it."""
    known = (*BUILT_IN, *settings.providers)
    for name in settings.providers:
        if name in BUILT_IN or not _NAME.fullmatch(name):
            return f"providers.{name}", ConfigurationError(
                f"providers.{name}: {name!r} cannot be the name of a further provider",
                hint=f"small letters, digits, _ and -, and none of {', '.join(BUILT_IN)}",
            )
    for alias, chain in settings.model.aliases.items():
        if not chain or not alias or ":" in alias or alias in known:
            return "model.aliases", ConfigurationError(
                f"model.aliases: {alias!r} is "
                + ("empty" if not chain else "a provider's name, or has a colon"),
                hint='such as: fast = ["openai:gpt-5.4-mini", "ollama:qwen3"]',
            )
    for key, names in (
        ("model.order", settings.model.order),
        ("model.keyring", settings.model.keyring),
    ):
        wrong = next((name for name in names if name not in known), None)
        if wrong is not None:
            near = nearest(wrong, known)
            return key, ConfigurationError(
                f"{key} takes a list of {' | '.join(known)}, not {wrong!r}",
                hint=f"did you mean {near}?" if near else None,
            )
    return None


def _narrowed(key: str, mine: object, theirs: object) -> object:
    """Return what a narrowing setting is, given what the user and the project say."""
    if isinstance(mine, int) and isinstance(theirs, int):
        return min(mine, theirs)
    if key in _STRICTEST_FIRST:
        return min(mine, theirs, key=_STRICTEST_FIRST[key].index)
    # Lists of what is not allowed: shortening them would loosen what the user set.
    user, project = cast("Sequence[str]", mine), cast("Sequence[str]", theirs)
    added = [one for one in dict.fromkeys(project) if one not in user]
    return [*user, *added] if added else mine


def _from_file(path: Path, table: tuple[str, ...]) -> dict[str, object]:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if table and b"aiex" not in raw:
        return {}
    import tomllib

    try:
        tree: object = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        if table:
            return {}  # the project's own file: what is wrong with it is not ours to say
        raise ConfigurationError(f"{path} is no valid TOML: {error}") from error
    for name in table:
        tree = tree.get(name, {}) if isinstance(tree, dict) else {}
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: [tool.aiex] must be a table")
    found: dict[str, object] = {}
    for branch, fields in tree.items():
        if not isinstance(fields, dict):
            if getattr(Settings(), branch, None) is None:
                _refuse_unknown(branch, str(path))
            raise ConfigurationError(f"{path}: {branch} must be a table, [{branch}]")
        for name, value in fields.items():
            key = f"{branch}.{name}"
            _refuse_unknown(key, str(path))
            _refuse_login(key, value, str(path))
            found[key] = value
    return found


def _refuse_login(key: str, value: object, origin: str) -> None:
    """Refuse an address with a login, or a key, as the value of a setting that a file keeps.

    Raises:
        ConfigurationError: *value* has one.
    """
    if isinstance(value, dict):
        for name, below in value.items():
            _refuse_login(f"{key}.{name}", below, origin)
        return
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and (redacted(text) != text or _has_user(text)):
            variable = _variable_of(key)
            known = any(setting.key == key for setting in all_settings())
            raise ConfigurationError(
                f"{origin}: {key} holds a key or a login, which do not belong in a file",
                hint=f"set {variable} in the environment instead" if known else _KEYS_ELSEWHERE,
            )


def _has_user(text: str) -> bool:
    return "@" in text.partition("://")[2].partition("/")[0]


def _refuse_unknown(key: str, origin: str) -> None:
    branch, _, name = key.partition(".")
    fields = getattr(Settings(), branch, None)
    if branch in _tables() or (fields is not None and name in type(fields).__struct_fields__):
        return
    if any(word in name.split("_") for word in shapes.SECRET_WORDS):
        raise ConfigurationError(f"{origin}: keys do not belong in a file", hint=_KEYS_ELSEWHERE)
    known = [setting.key for setting in all_settings()]
    near = nearest(key, known)
    raise ConfigurationError(
        f"{origin}: there is no setting {key!r}",
        hint=f"did you mean {near}?" if near else "aiex config list shows all of them",
    )


def _refuse_users(found: Mapping[str, object], path: Path) -> None:
    users = {setting.key for setting in all_settings() if setting.user_only}
    for key in found:
        if key in users or f"{key.partition('.')[0]}.NAME" in users:
            raise ConfigurationError(
                f"{path} sets {key}, which only the user may set: a project's files must not "
                "decide where code and keys go or what may be touched",
                hint=f"aiex config set {key} VALUE, if you trust it",
            )


def _from_environment(env: Mapping[str, str]) -> dict[str, object]:
    ours = {
        name: value
        for name, value in env.items()
        if name.startswith("AIEX_") and name not in _NO_SETTINGS
    }
    if not ours:
        return {}
    found: dict[str, object] = {}
    for name, text in ours.items():
        key = _variables().get(name)
        if key is None:
            if name.startswith("AIEX_TEST_"):
                continue
            near = nearest(name, _variables(), cutoff=0.6)
            raise ConfigurationError(
                f"there is no setting for the variable {name}",
                hint=f"did you mean {near}?" if near else "aiex config list shows all of them",
            )
        found[key] = parse_text(_one(key), text)
    return found


@functools.cache
def _variables() -> dict[str, str]:
    """Return the key of each variable; without what the types are, which takes milliseconds."""
    found = {}
    for branch in Settings.__struct_fields__:
        tree = getattr(Settings(), branch)
        for name in () if isinstance(tree, dict) else type(tree).__struct_fields__:
            if not isinstance(getattr(tree, name), dict):
                found[_variable_of(f"{branch}.{name}")] = f"{branch}.{name}"
    return found


def _variable_of(key: str) -> str:
    return "AIEX_" + key.upper().replace(".", "_")


def _one(key: str) -> Setting:
    """Return one plain setting without looking at the others."""
    branch, _, name = key.partition(".")
    default = getattr(getattr(Settings(), branch), name)
    annotation = _annotation(key)
    return _setting(key, annotation, default, annotation)


def parse_text(setting: Setting, text: str) -> object:
    """Return *text* as a value of *setting*: lists are split at commas.

    Raises:
        ConfigurationError: It is none.
    """
    if setting.type.startswith("a list of"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if setting.type == "true or false":
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise ConfigurationError(f"{setting.key} takes true or false, not {text!r}")
        return words[text.lower()]
    if setting.type in {"a whole number", "a number"}:
        try:
            return int(text) if setting.type == "a whole number" else float(text)
        except ValueError:
            raise ConfigurationError(f"{setting.key} takes {setting.type}, not {text!r}") from None
    return text


def _build(values: Mapping[str, object], origin: str) -> Settings:
    """Return the tree with *values* in it.

    Raises:
        ConfigurationError: One does not fit; *origin* is named.
    """
    if not values:
        return Settings()
    tree: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        if isinstance(value, dict) or key.partition(".")[0] in _tables():
            shapes.check_table(key, value, _annotation(key), origin)
        branch, _, name = key.partition(".")
        tree.setdefault(branch, {})[name] = value
    try:
        return msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise _misfit(values, origin, str(error)) from error


def _misfit(values: Mapping[str, object], origin: str, message: str) -> ConfigurationError:
    """Return what is wrong with the value that msgspec's *message* is about."""
    what, _, where = message.partition(" - at ")
    key = where.strip("`").removeprefix("$.").partition("[")[0]
    setting = next((s for s in all_settings() if s.key == key), None)
    place = f"{origin}: " if origin else ""
    if setting is None:
        return ConfigurationError(f"{place}{what}")
    value = values[key]
    given = value if isinstance(value, list | tuple) else [value]
    wrong = next((v for v in given if isinstance(v, str) and v not in setting.words), None)
    near = None if wrong is None else nearest(wrong, setting.words)
    shown = value if wrong is None or not setting.words else wrong
    return ConfigurationError(
        f"{place}{key} takes {setting.type}, not {shown!r}"
        + ("" if setting.words else f": {what[:1].lower()}{what[1:]}"),
        hint=f"did you mean {near}?" if near else None,
    )


def set_user(env: Mapping[str, str], key: str, text: str, *, dry: bool = False) -> Path:
    """Write one setting into the user's file, keeping everything else in it, and return the file.

    Args:
        env: Environment variables.
        key: The setting, or a value inside of a table, such as `model.aliases.fast`.
        text: Its value, as one types it.
        dry: Whether to check all of it and write nothing.

    Raises:
        NotFoundError: There is no such setting.
        ConfigurationError: The value does not fit, or the file cannot be read or written.
    """
    setting = _settable(key)
    path = user_file(env)
    value = parse_text(setting, text)
    _refuse_login(key, value, str(path))
    section, _, name = key.rpartition(".")
    before = _from_file(path, ())
    after = _with_value(before, key, value)
    _check_whole(after, key)
    if dry:
        return path
    old = path.read_text("utf-8") if path.exists() else ""
    new = _with_line(old, section, name, _toml(value))
    _write(path, new)
    if _from_file(path, ()) != after:
        _write(path, old)
        raise ConfigurationError(
            f"{path} is written in a way that cannot be edited safely",
            hint=f"set {name} under [{section}] by hand",
        )
    return path


def _settable(key: str) -> Setting:
    """Return the setting of one value: a plain one, or one inside of a table."""
    for setting in all_settings():
        if setting.key == key and not setting.inside:
            return setting
        for below in setting.inside:
            if _means(below.key, key):
                return msgspec.structs.replace(below, key=key)
        if _means(setting.key, key):
            inside = ", ".join(below.key for below in setting.inside)
            raise NotFoundError(
                f"{key} is a table, and one value at a time is set", hint=f"set {inside}"
            )
    known = [s.key for s in all_settings()]
    near = nearest(key, known, cutoff=0.4)
    raise NotFoundError(
        f"there is no setting {key!r}",
        hint=f"did you mean {near}?" if near else "aiex config list shows all of them",
    )


def _means(pattern: str, key: str) -> bool:
    wanted, given = pattern.split("."), key.split(".")
    return len(wanted) == len(given) and all(
        w in {g, "NAME"} and _BARE.fullmatch(g) for w, g in zip(wanted, given, strict=True)
    )


def _with_value(found: Mapping[str, object], key: str, value: object) -> dict[str, object]:
    """Return *found* with *value* under *key*, which may lie inside of a table."""
    if _annotation(key) is not None and key.count(".") == 1:
        return {**found, key: value}
    top = ".".join(key.split(".")[:2])
    *path, last = key.split(".")[2:]
    table = msgspec.json.decode(msgspec.json.encode(found.get(top, {})))
    inner = table
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return {**found, top: table}


def _check_whole(found: Mapping[str, object], key: str) -> None:
    """Refuse a value that does not fit, by itself or with the other settings of its file."""
    top = ".".join(key.split(".")[:2])
    _build({top: found[top]}, "")
    try:
        wrong = _misnamed(_build(found, ""))
    except ConfigurationError:
        return  # something else in the file is wrong, and stays so
    if wrong is not None and wrong[0] == top:
        raise wrong[1]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return str(value)


def _with_line(text: str, branch: str, name: str, value: str) -> str:
    lines = text.split("\n") if text else []
    inside = False
    last = None
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped.partition("#")[0].strip() == f"[{branch}]"
        elif inside and stripped.partition("=")[0].strip() == name:
            lines[number] = f"{name} = {value}"
            return "\n".join(lines)
        if inside and stripped:
            last = number
    if last is not None:
        lines.insert(last + 1, f"{name} = {value}")
        return "\n".join(lines)
    head = text.rstrip("\n")
    return f"{head}\n\n" * bool(head) + f"[{branch}]\n{name} = {value}\n"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
