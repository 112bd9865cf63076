"""Secrets are planted in every input, and no output has one; where one may be is named here."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest

from aiex.app.secret_files import SealedFile
from aiex.sandbox import Command, CommandPolicy, Isolation
from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli, Ended

    Answering = Callable[..., FakeOpenAI]

# None has a form by which it could be told: each must be known for what it is.
KEY = "zq7-openai-Kestrel-41"
OTHER_KEY = "zq7-anthropic-Heron-42"
PASSPHRASE = "zq7 passphrase Osprey 43"
TOKEN = "zq7-env-token-Merlin/44"
LOGIN = "zq7-index-Falcon-45"
NPM_LOGIN = "zq7-npm-Harrier-46"
URL_LOGIN = "zq7-base-Buzzard@47"
DATABASE = "zq7-database-Kite-48"
# These are told by their form, wherever they come from.
SHAPED = "sk-proj-zq7ArgvGoshawk49Argv50"
FILE_SHAPED = "ghp_zq7FileNameEagle51FileName52"
STDIN_SHAPED = "AKIAZQ7STDINHOBBY53X"

PLANTED = (
    KEY,
    OTHER_KEY,
    PASSPHRASE,
    TOKEN,
    LOGIN,
    NPM_LOGIN,
    URL_LOGIN,
    DATABASE,
    SHAPED,
    FILE_SHAPED,
    STDIN_SHAPED,
)


def forms_of(secret: str) -> set[bytes]:
    """Return the ways in which a secret may stand in an output."""
    plain = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    coded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return {form.encode() for form in (*plain, coded)}


def leaks(data: bytes, allowed: tuple[str, ...] = ()) -> set[str]:
    return {s for s in PLANTED if s not in allowed and any(f in data for f in forms_of(s))}


class Planted:
    """A machine with a secret in everything that Aiex takes, and all that it wrote so far."""

    def __init__(self, cli: Cli, fake: FakeOpenAI) -> None:
        self.cli = cli
        self.fake = fake
        self.said: list[bytes] = []
        self.home = Path(cli.env["HOME"])

    def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        ended = self.cli(*words, stdin=stdin)
        self.said.append(f"{ended.out}\n{ended.err}".encode())
        return ended

    @property
    def state(self) -> Path:
        return self.home / ".local/state/aiex"

    def written(self) -> Iterator[tuple[Path, bytes]]:
        """Give every file below the home and the folder for temporary files, by name and content.

        The rows of the store are given as they are, too, since SQLite may keep a text in pieces.
        """
        for folder in (self.home, Path(self.cli.env["TMPDIR"])):
            for path in folder.rglob("*"):
                if path.is_file() and path not in self.inputs:
                    yield path, str(path).encode() + b"\n" + path.read_bytes()
        if not (self.state / "aiex.db").exists():
            return
        with sqlite3.connect(self.state / "aiex.db") as store:
            tables = store.execute("select name from sqlite_master where type = 'table'").fetchall()
            for (table,) in tables:
                rows = store.execute(f'select * from "{table}"').fetchall()
                yield Path(table), b"\n".join(_bytes(value) for row in rows for value in row)
        store.close()

    inputs: frozenset[Path] = frozenset()

    def leaked(self, *allowed: str) -> set[tuple[str, str]]:
        """Return which secrets stand where, except *allowed* ones."""
        found = {("said", secret) for said in self.said for secret in leaks(said, allowed)}
        for path, data in self.written():
            found |= {(path.name, secret) for secret in leaks(data, allowed)}
        return found


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture
def planted(cli: Cli, answering: Answering, tmp_path: Path) -> Planted:
    fake = answering(Scripted(text="It adds."))
    (tmp_path / "tmp").mkdir()
    login = quote(URL_LOGIN, safe="")
    cli.env |= {
        "TMPDIR": str(tmp_path / "tmp"),
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_API_KEY": OTHER_KEY,
        "AIEX_PASSPHRASE": PASSPHRASE,
        "SOME_DEPLOY_TOKEN": TOKEN,
        "DATABASE_URL": f"postgres://shop:{DATABASE}@db.example/shop",
        "PIP_INDEX_URL": f"http://me:{LOGIN}@127.0.0.1:9/simple/",
        "AIEX_MODEL_OLLAMA_URL": f"http://me:{login}@127.0.0.1:9",
        "AIEX_MODEL_ORDER": "openai,anthropic,ollama",
        "AIEX_CLI_LOG_LEVEL": "debug",
        "AIEX_MODEL_ANTHROPIC_URL": "http://127.0.0.1:9",
    }
    machine = Planted(cli, fake)
    npmrc = machine.home / ".npmrc"
    npmrc.write_text(f"registry=http://{NPM_LOGIN}@127.0.0.1:9/\n")
    machine.inputs = frozenset({npmrc})
    return machine


def _echo(status: int, text: str) -> Scripted:
    """A provider that repeats what it was sent, as some do."""
    error = {"type": "invalid", "code": "invalid", "message": text}
    return Scripted(status=status, error=error, text="It" if status == 200 else "")


ALL = f"{KEY} {OTHER_KEY} {TOKEN} {DATABASE} {SHAPED} at http://me:{quote(URL_LOGIN, safe='')}@x/"


@pytest.mark.parametrize(
    ("status", "form"),
    [
        (401, ()),
        (401, ("--json",)),
        (401, ("--jsonl",)),
        (400, ("-v",)),
        (500, ("-v", "--json")),
        (200, ("--json",)),
    ],
)
def test_a_provider_that_repeats_secrets(
    planted: Planted, answering: Answering, status: int, form: tuple[str, ...]
) -> None:
    answering(_echo(status, f"Incorrect key: {ALL}"))
    planted.cli.env["OPENAI_API_KEY"] = KEY

    ended = planted("explain", "shop/cart.py", "--provider", "openai", *form)

    assert ended.code in {2, 3}
    assert "[redacted]" in ended.out + ended.err or "[key]" in ended.out + ended.err
    assert planted.leaked() == set()


@pytest.mark.parametrize("form", [(), ("--json",)])
@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("model", "list"),
        ("model", "test"),
        ("config", "list"),
        ("config", "show", "--origin"),
        ("config", "get", "model.ollama_url"),
        ("config", "key", "list"),
    ],
)
def test_what_tells_of_the_machine(
    planted: Planted, answering: Answering, words: tuple[str, ...], form: tuple[str, ...]
) -> None:
    answering(_echo(401, ALL))
    planted.cli.env["OPENAI_API_KEY"] = KEY

    planted(*words, *form)

    assert planted.leaked() == set()


@pytest.mark.parametrize("form", [(), ("-v", "--jsonl")])
def test_words_of_the_command_line(planted: Planted, form: tuple[str, ...]) -> None:
    refused = [
        planted("config", "set", "model.openai_url", f"http://me:{DATABASE}@x.example", *form),
        planted(
            "config", "set", "model.openai_url", f"http://{quote(TOKEN, safe='')}@x.example", *form
        ),
        planted("config", "set", "model.openai_model", SHAPED, *form),
        planted("config", "set", "model.openai_key", KEY, *form),
        planted("config", "set", "cli.color", TOKEN, *form),
        planted("config", "set", KEY, "x", *form),
        planted("config", "get", KEY, *form),
        planted("explain", f"--{SHAPED}", *form),
        planted("explain", f"{FILE_SHAPED}.py", *form),
        planted("explain", "shop/cart.py", "--model", f"openai-{TOKEN}:{SHAPED}", *form),
        planted("config", "key", "set", KEY, *form),
        planted(SHAPED, *form),
        planted("analyze", KEY, *form),
    ]

    assert [ended.code for ended in refused] == [2] * len(refused)
    assert not (planted.home / ".config/aiex/config.toml").exists()
    assert planted.leaked() == set()


def test_a_file_of_settings_may_hold_no_key_and_no_login(planted: Planted) -> None:
    file = planted.home / ".config/aiex/config.toml"
    file.parent.mkdir(parents=True)
    planted.inputs |= {file}
    for line in (f"openai_url = 'http://me:{DATABASE}@x'", f"openai_key = '{KEY}'"):
        file.write_text(f"[model]\n{line}\n")

        ended = planted("explain", "shop/cart.py")

        assert ended.code == 2
        assert "do not belong in a file" in ended.err
    planted("doctor")
    assert planted.leaked() == set()


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_indexes_that_one_has_to_log_in_to(planted: Planted, form: tuple[str, ...]) -> None:
    (planted.cli.project / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "0.1"\ndependencies = ["anyio"]\n'
    )
    (planted.cli.project / "package.json").write_text('{"dependencies": {"left-pad": "1.0.0"}}')
    planted.cli.env |= {"AIEX_ANALYSIS_OSV_URL": "", "AIEX_ANALYSIS_VERSIONS_URL": ""}

    ended = planted("analyze", "deps", "--outdated", "-v", *form)

    assert "127.0.0.1" in ended.out + ended.err
    assert planted.leaked() == set()


def test_a_crash_with_secrets_in_its_message(planted: Planted, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tree_sitter.py").write_text(
        "import os\n"
        "found = ' '.join(f'{k}={v}' for k, v in os.environ.items())\n"
        f"raise ValueError(found + ' ' + {SHAPED[:9]!r} + {SHAPED[9:]!r})\n"
    )
    planted("doctor")
    planted.cli.env["PYTHONPATH"] = str(broken)
    for form in ((), ("--json",), ("-v",)):
        ended = planted("explain", "shop/cart.py", *form)
        assert ended.code == 70
        assert "ValueError" in ended.err

    faults = [path for path, _ in planted.written() if "aiex-fault" in path.name]
    assert faults
    assert planted.leaked() == set()


def test_a_fault_inside_of_a_verb(planted: Planted, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os\n"
        "import aiex.sandbox.files as files\n"
        "def read_many(*_, **__):\n"
        "    raise ValueError(os.environ['OPENAI_API_KEY'] + os.environ['SOME_DEPLOY_TOKEN'])\n"
        "for name in ('read', 'read_many', 'read_lines', 'scan'):\n"
        "    if hasattr(files.Files, name):\n"
        "        setattr(files.Files, name, read_many)\n"
    )
    planted.cli.env["PYTHONPATH"] = str(broken)

    for form in ((), ("--json",), ("--jsonl",), ("-v",)):
        ended = planted("explain", "shop/cart.py", *form)
        assert ended.code == 70, ended.err
        assert "ValueError" in ended.err

    assert list((planted.state / "faults").iterdir())
    assert planted.leaked() == set()


def test_prompts_that_are_recorded_lose_the_secrets_that_are_held(planted: Planted) -> None:
    (planted.cli.project / "shop/cart.py").write_text(f'KEY = "{KEY}"\nTOKEN = "{TOKEN}"\n')

    ended = planted("explain", "shop/cart.py", "--record-prompts", "--show-context")

    assert ended.code == 0, ended.err
    assert KEY in json.dumps(planted.fake.bodies)  # the model is shown what stands in the code
    assert "[redacted]" in ended.err
    assert leaks(ended.err.encode()) == set()
    tables = {path.name: data for path, data in planted.written() if path.suffix == ""}
    assert b"[redacted]" in tables["r_llm_interaction"]
    assert leaks(tables["r_llm_interaction"]) == set()
    # The user's own lines are in the analysis of the file, which is kept.
    assert {where for where, _ in planted.leaked()} <= {*OWN_DATA, "r_code_analysis_cache"}


OWN_DATA = ("aiex.db", "aiex.db-wal")


def test_a_key_that_a_file_gave_is_held_like_one_of_the_environment(
    planted: Planted, tmp_path: Path
) -> None:
    del planted.cli.env["OPENAI_API_KEY"]
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    planted.cli.env["OPENAI_API_KEY_FILE"] = str(tmp_path / "key")
    (planted.cli.project / "shop/cart.py").write_text(f'KEY = "{KEY}"\n')

    assert planted("explain", "shop/cart.py", "--record-prompts").code == 0

    tables = {path.name: data for path, data in planted.written() if path.suffix == ""}
    assert b"[redacted]" in tables["r_llm_interaction"]
    assert leaks(tables["r_llm_interaction"]) == set()


def test_code_from_standard_input_is_in_no_log(planted: Planted) -> None:
    planted("explain", "-", "--language", "python", "--facts-only", stdin=f'A = "{STDIN_SHAPED}"\n')
    planted("explain", "error", stdin=f"Traceback: {STDIN_SHAPED} {TOKEN}\n")

    audit = b"".join(p.read_bytes() for p in (planted.state / "audit").rglob("*") if p.is_file())
    assert leaks(audit) == set()


@pytest.mark.parametrize("place", ["credential", "mounted", "sealed"])
def test_a_key_works_from_each_place_and_is_shown_from_none(
    planted: Planted, tmp_path: Path, answering: Answering, place: str
) -> None:
    fake = answering(Scripted(text="It adds."), _echo(401, f"wrong: {KEY} {PASSPHRASE}"))
    del planted.cli.env["OPENAI_API_KEY"]
    if place == "sealed":
        planted("config", "key", "set", "openai", "--file", stdin=f"{KEY}\n")
        file = planted.home / ".config/aiex/keys.sealed"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SealedFile(file).keys(PASSPHRASE) == {"openai": KEY}
    else:
        (tmp_path / "OPENAI_API_KEY").write_text(f"{KEY}\n")
        (tmp_path / "OPENAI_API_KEY").chmod(0o400)
        planted.cli.env |= (
            {"CREDENTIALS_DIRECTORY": str(tmp_path)}
            if place == "credential"
            else {"OPENAI_API_KEY_FILE": str(tmp_path / "OPENAI_API_KEY")}
        )

    first = planted("explain", "shop/cart.py", "--provider", "openai")
    second = planted("explain", "shop/till.py", "--provider", "openai", "-v")
    doctor = planted("doctor", "--json")

    assert first.code == 0, first.err
    assert "It adds." in first.out
    assert second.code == 3
    assert fake.bodies
    [told] = [c for c in doctor.json["data"]["checks"] if c["name"] == "openai"]
    words = {"credential": "the credential OPENAI_API_KEY", "mounted": "OPENAI_API_KEY_FILE"}
    assert words.get(place, "keys.sealed") in told["detail"]
    assert planted.leaked() == set()


def test_a_keyring_that_is_named_and_absent_is_refused_though_there_is_a_key_elsewhere(
    planted: Planted,
) -> None:
    planted.cli.env |= {
        "AIEX_MODEL_KEYRING": "openai",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }

    ended = planted("explain", "shop/cart.py", "--provider", "openai")

    assert ended.code == 2, ended.err
    assert "this machine has no keyring" in ended.err
    assert "aiex config key set openai --file" in ended.err
    assert planted.fake.bodies == []


def test_what_this_test_looks_for_is_found_where_it_is(tmp_path: Path) -> None:
    for secret in PLANTED:
        assert leaks(f"x{secret}y".encode()) == {secret}
        assert leaks(json.dumps({"a": quote(secret, safe="")}).encode()) == {secret}


# A program that writes down its whole environment, in the place of one that Aiex starts.
_SPY = """#!{python}
import json, os, sys
with open({file!r}, "a") as out:
    out.write(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], dict(os.environ)]) + "\\n")
sys.exit(1)
"""


def _children(planted: Planted, tmp_path: Path, *names: str) -> Path:
    folder, file = tmp_path / "spies", tmp_path / "children"
    folder.mkdir()
    for name in names:
        spy = folder / name
        spy.write_text(_SPY.format(python="/usr/bin/env python3", file=str(file)))
        spy.chmod(0o755)
    planted.cli.env["PATH"] = f"{folder}{os.pathsep}{planted.cli.env['PATH']}"
    return file


def _seen(file: Path) -> list[tuple[str, list[str], dict[str, Any]]]:
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()]


def test_no_command_gets_a_secret(planted: Planted) -> None:
    """Every command goes through `Isolation`: `tests/sandbox/test_spawn.py` holds that."""

    async def environment() -> bytes:
        async with Isolation(CommandPolicy(require="none"), planted.cli.env) as isolation:
            return (await isolation.run(Command(argv=("env",)))).stdout

    seen = anyio.run(environment)

    assert b"PATH=" in seen
    assert leaks(seen) == set()
    assert leaks(json.dumps(planted.cli.env).encode()) != set()


# Python packages in the place of those whose programs Aiex starts.
_SPY_PACKAGES = {
    "xllamacpp.py": "import json, os, sys\n"
    "with open({file!r}, 'a') as out:\n"
    "    out.write(json.dumps(['server', sys.argv[1:], dict(os.environ)]) + '\\n')\n"
    "raise ImportError('only looking')\n",
    "uv.py": "def find_uv_bin():\n    return {uv!r}\n",
}


def test_neither_uv_nor_the_embedded_models_server_gets_a_provider_s_key(
    planted: Planted, tmp_path: Path
) -> None:
    file = _children(planted, tmp_path, "uv")
    for name, text in _SPY_PACKAGES.items():
        spy = text.format(file=str(file), uv=str(tmp_path / "spies/uv"))
        (tmp_path / "spies" / name).write_text(spy)
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.gguf").write_bytes(_gguf_head())
    planted.cli.env |= {
        "PYTHONPATH": str(tmp_path / "spies"),
        "AIEX_STATE_MODELS": str(models),
        "AIEX_MODEL_ORDER": "local",
    }

    planted("model", "pull", "smollm2-135m")
    planted("explain", "shop/cart.py", "--model", "local:mine")

    seen = {name: (argv, env) for name, argv, env in _seen(file)}
    assert set(seen) == {"uv", "server"}
    # The index that pip is set up for is one that uv has to log in to.
    assert leaks(json.dumps(seen["uv"]).encode(), allowed=(LOGIN,)) == set()
    assert leaks(json.dumps(seen["server"]).encode()) == set()
    assert planted.leaked() == set()


def _gguf_head() -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
    for name, kind, value in (
        ("general.architecture", 8, struct.pack("<Q", 5) + b"llama"),
        ("llama.context_length", 4, struct.pack("<I", 2048)),
    ):
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value
    return head
