"""Sessions as they are listed, moved and shared, here and on a server."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import Cli
from tests.journeys.test_chat import session_of, shown, texts

from aiex.testing.fake_openai import FakeOpenAI, Scripted
from aiex.testing.serving import Serving, serving
from aiex.testing.upstream import CallTool, Delivery, Say, Scenario, ScriptedUpstream

Answering = Callable[..., FakeOpenAI]

SECRET = "-".join(("sk", "live", "0123456789abcdefghijkl"))
HELD = "correct horse battery"
MODEL = "gpt-5.4-mini"


# ------------------------------------------------------------ here


@pytest.fixture
def session(cli: Cli, answering: Answering) -> str:
    answering(Scripted(text=f"The key is {SECRET}."), Scripted(text="Two."))
    cli.env["SHOP_PASSWORD"] = HELD
    return session_of(cli("chat", f"Is {HELD} right?"))


@pytest.mark.parametrize("form", [(), ("--format", "md"), ("--json",)])
def test_nothing_secret_is_exported(cli: Cli, session: str, form: tuple[str, ...]) -> None:
    ended = cli("session", "export", session, *form)

    assert ended.code == 0
    assert "The key is [redacted]." in ended.out
    assert "Is [redacted] right?" in ended.out
    assert SECRET not in ended.out + ended.err
    assert HELD not in ended.out + ended.err


def test_what_was_exported_is_imported_as_a_new_session(
    cli: Cli, session: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.json"
    file.write_text(cli("session", "export", session).out)

    ended = cli("session", "import", str(file))
    piped = cli("session", "import", stdin=file.read_text())

    copy = ended.out.strip()
    assert copy.startswith("ses_")
    assert len({copy, session, piped.out.strip()}) == 3
    data = shown(cli, copy)
    assert data["sessions"][0]["parent"] == {"id": session, "turns": 1, "kind": "import"}
    assert [turn["state"] for turn in data["turns"]] == ["done"]
    assert cli("chat", "--continue", "second?").out == "Two.\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: one.update(kind="other"), "no exported session"),
        (lambda one: one.update(schema=99), "newer Aiex"),
        (lambda one: one["turns"][0].update(number=2), "turn 1"),
        (lambda one: one["turns"][0]["entries"].clear(), "does not begin"),
        (
            lambda one: one["turns"][0]["entries"][1]["message"].update(role="system"),
            "the role system",
        ),
    ],
)
def test_what_is_no_session_is_not_imported(
    cli: Cli, session: str, change: Callable[[Any], None], says: str
) -> None:
    document = json.loads(cli("session", "export", session).out)
    change(document)

    ended = cli("session", "import", "-", stdin=json.dumps(document))

    assert ended.code == 2
    assert says in ended.err
    assert len(cli("session", "list", "--json").json["data"]["sessions"]) == 1


def test_a_deleted_session_is_gone(cli: Cli, session: str) -> None:
    assert cli("session", "delete", session, "--dry-run").code == 0
    assert cli("session", "show", session).code == 0
    assert HELD in _stored(cli)

    assert cli("session", "delete", session).code == 0

    assert cli("session", "show", session).code == 2
    assert not _stored(cli)


def _stored(cli: Cli) -> str:
    """Return all that the table of turns holds."""
    import sqlite3

    (store,) = Path(cli.env["HOME"]).rglob("aiex.db")
    connection = sqlite3.connect(store)
    names = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%ai_context_turn'")
    ((table,),) = names.fetchall()
    rows = connection.execute(f"SELECT value FROM {table} WHERE value IS NOT NULL").fetchall()
    connection.close()
    return "".join(row[0] for row in rows)


def test_a_session_is_shown_to_be_read(cli: Cli, session: str) -> None:
    ended = cli("session", "show", session)
    listed = cli("session", "list", "--here")

    assert f"you  Is {HELD} right?" in ended.out
    assert "aiex  The key is" in ended.out
    assert session in listed.out
    assert "1 turn " in listed.out


def test_where_nobody_else_is_nobody_can_be_named(cli: Cli, session: str) -> None:
    ended = cli("session", "share", session, "bea")

    assert ended.code == 2
    assert "no user 'bea'" in ended.err
    assert "a server has several users" in ended.err


# ------------------------------------------------------------ on a server


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    answer = Scenario(says=(Say(("It ", "adds ", "up.")),))
    looks = Scenario(
        says=(CallTool("call_1", "read_file", ('{"path": "shop/cart.py"}',)),),
        finish="tool_calls",
        then=answer,
    )
    with ScriptedUpstream({MODEL: looks}) as provider:
        yield provider
        assert not provider.violations


@pytest.fixture
def server(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Serving]:
    env = {
        "OPENAI_API_KEY": "sk-of-nobody",
        "AIEX_MODEL_OPENAI_URL": f"{upstream.url}/v1",
        "AIEX_MODEL_OLLAMA_URL": "http://127.0.0.1:9",
        "AIEX_MODEL_LM_STUDIO_URL": "http://127.0.0.1:9",
        "AIEX_MODEL_DEFAULT": f"openai:{MODEL}",
    }
    with serving(tmp_path / "server", "", env) as one:
        yield one


class Users:
    """People of a team, each with a key and a machine of their own."""

    def __init__(self, server: Serving, folder: Path) -> None:
        self._server = server
        self._folder = folder

    def __call__(self, name: str, *roles: str) -> Cli:
        asked = {"user": name, "roles": roles or ("developer",)}
        key = self.ask(self._server.token, "POST", "/keys", asked)["key"]
        project = self._folder / name / "shop"
        (project / "shop").mkdir(parents=True)
        (project / "pyproject.toml").write_text('[project]\nname = "shop"\n')
        (project / "shop/cart.py").write_text(f"OWNER = '{name}'\n")
        cli = Cli(project, self._folder / name)
        cli.env |= {"AIEX_SERVER": self._server.url, "AIEX_TOKEN": key}
        return cli

    def ask(self, token: str, method: str, path: str, body: Any = None) -> Any:
        link = http.client.HTTPConnection(self._server.url.removeprefix("http://"), timeout=30)
        link.request(
            method,
            f"/api/v1{path}",
            body=None if body is None else json.dumps(body),
            headers={"authorization": f"Bearer {token}"},
        )
        said = json.loads(link.getresponse().read())
        link.close()
        return said


@pytest.fixture
def users(server: Serving, tmp_path: Path) -> Users:
    return Users(server, tmp_path)


def test_a_session_is_kept_by_the_server_and_files_are_read_here(
    users: Users, upstream: ScriptedUpstream
) -> None:
    ann = users("ann")

    ended = ann("chat", "What is in it?")

    assert (ended.code, ended.out) == (0, "It adds up.\n"), ended.err
    result = upstream.asked[-1].body["messages"][-1]["content"]
    assert "OWNER = 'ann'" in result
    assert shown(ann, session_of(ended))["sessions"][0]["owner"] == "ann"
    assert not (Path(ann.env["HOME"]) / "shop/.aiex").exists()
    without = Cli(ann.project, Path(ann.env["HOME"]))
    assert not without("session", "list", "--json").json["data"].get("sessions")
    assert ann("chat", "--continue", "And now?").code == 0


def test_a_session_is_its_owner_s_until_it_is_shared(users: Users) -> None:
    ann, bea = users("ann"), users("bea")
    session = session_of(ann("chat", "What is in it?"))
    assert bea("session", "show", session).code == 2
    assert not bea("session", "list", "--json").json["data"].get("sessions")

    assert ann("session", "share", session, "bea").code == 0

    assert texts(shown(bea, session)["turns"][0], "user") == "What is in it?"
    refused = bea("chat", "--resume", session, "And now?")
    assert refused.code == 4
    assert "belongs to ann" in refused.err
    assert "--fork" in refused.err
    assert bea("session", "delete", session).code == 4
    forked = bea("chat", "--resume", session, "--fork", "And now?")
    assert shown(bea, session_of(forked))["sessions"][0]["owner"] == "bea"
    assert ann("session", "show", session_of(forked)).code == 2
    assert ann("session", "share", session, "bea", "--remove").code == 0
    assert bea("session", "show", session).code == 2


def test_a_session_is_handed_off_to_who_goes_on_with_it(users: Users) -> None:
    ann, bea = users("ann"), users("bea")
    session = session_of(ann("chat", "What is in it?"))
    near = ann("session", "handoff", session, "bae")
    assert near.code == 2
    assert "did you mean bea?" in near.err

    assert ann("session", "handoff", session, "bea").code == 0

    assert bea("chat", "--resume", session, "And now?").code == 0
    assert len(shown(ann, session)["turns"]) == 2
    assert ann("chat", "--resume", session, "And me?").code == 4


def test_an_administrator_sees_what_it_is_and_not_what_was_said(users: Users) -> None:
    ann, eve = users("ann"), users("eve", "admin")
    session = session_of(ann("chat", "Something private?"))

    listed = eve("session", "list", "--everybody", "--json")
    ended = eve("session", "show", session, "--json")

    assert "Something private" not in listed.out + ended.out
    (seen,) = listed.json["data"]["sessions"]
    assert (seen["id"], seen["owner"], seen["turns"]) == (session, "ann", 1)
    assert seen["usage"]["calls"] == 2
    assert not ended.json["data"]["is_readable"]
    assert "turns" not in ended.json["data"]
    assert eve("session", "export", session).code == 2
    assert eve("session", "delete", session).code == 2
    assert ann("session", "list", "--everybody").code == 4


def test_a_client_that_is_killed_leaves_its_words_at_the_server(
    users: Users, upstream: ScriptedUpstream
) -> None:
    ann = users("ann")
    answer = upstream.scenarios[MODEL]
    upstream.scenarios[MODEL] = Scenario(
        says=(Say(("Half ", "of ", "it", "...")),), delivery=Delivery(cut_after=4, ending="hold")
    )
    process = ann.start("chat", "first?")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(5) == "Half "
    kept = ""
    while not kept:
        (session,) = ann("session", "list", "--json").json["data"]["sessions"]
        kept = texts(shown(ann, session["id"])["turns"][-1], "assistant")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    process.stderr.close()
    upstream.scenarios[MODEL] = answer

    at_once = ann("chat", "--continue", "second?")
    forked = ann("chat", "--continue", "--fork", "second?")

    assert at_once.code == 7
    assert "found out after 15 s" in at_once.err
    assert (forked.code, forked.out) == (0, "It adds up.\n")
    first = shown(ann, session_of(forked))["turns"][0]
    assert first["state"] == "broken"
    assert texts(first, "assistant").startswith("Half of")


def test_sessions_are_had_from_the_api_of_a_server_too(users: Users, server: Serving) -> None:
    ann, bea = users("ann"), users("bea")
    token = ann.env["AIEX_TOKEN"]
    session = session_of(ann("chat", f"Is {SECRET} in it?"))

    (listed,) = users.ask(token, "GET", "/sessions?most=5")["sessions"]
    document = users.ask(token, "GET", f"/sessions/{session}/export")["document"]
    made = users.ask(token, "POST", "/sessions", document)["sessions"][0]
    users.ask(token, "POST", f"/sessions/{made['id']}/share", {"user": "bea"})
    users.ask(token, "POST", f"/sessions/{session}/handoff", {"user": "bea"})

    assert listed["id"] == session
    assert SECRET not in json.dumps(document)
    assert "Is [redacted] in it?" in json.dumps(document)
    assert made["id"] != session
    readable = users.ask(bea.env["AIEX_TOKEN"], "GET", f"/sessions/{made['id']}")
    assert readable["turns"]
    assert users.ask(token, "DELETE", f"/sessions/{session}")["error"]["code"] == "refused"
    assert users.ask(token, "DELETE", f"/sessions/{made['id']}")["action"] == "delete"
    assert users.ask(token, "GET", "/sessions?mots=5")["error"]["code"] == "usage"
    assert users.ask(token, "POST", "/sessions", {"kind": "x"})["error"]["code"] == "usage"
