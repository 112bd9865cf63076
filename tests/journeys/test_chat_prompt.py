"""The prompt of `aiex chat`, at a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator

import pytest
from tests.journeys.conftest import Cli
from tests.journeys.test_chat import shown, texts

from aiex.testing.fake_openai import FakeOpenAI, Scripted
from aiex.testing.upstream import Delivery, Say, Scenario, ScriptedUpstream

Answering = Callable[..., FakeOpenAI]

SECONDS = 30.0
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>()][0-9A-B]?)")


class Screen:
    """The program at a terminal: what is typed, and what has been shown since."""

    def __init__(self, cli: Cli, *words: str, **env: str) -> None:
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (40, 100))
        self.process = subprocess.Popen(
            cli.argv("chat", *words),
            cwd=cli.project,
            env={**cli.env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def until(self, text: str) -> str:
        """Return what is shown up to *text*, which is waited for; what follows is kept."""
        while text not in self.shown:
            ready, _, _ = select.select([self._leader], [], [], SECONDS)
            assert ready, f"{text!r} is not shown: {self.shown!r}"
            self.shown = _ESCAPE.sub("", self.shown + os.read(self._leader, 65536).decode())
        before, _, self.shown = self.shown.partition(text)
        return before

    def leave(self) -> int:
        self.type("\x04")
        return self.ended()

    def ended(self) -> int:
        try:
            while piece := os.read(self._leader, 65536):
                self.shown += _ESCAPE.sub("", piece.decode())
        except OSError:  # Linux says so at the end
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)
        os.close(self._leader)


@pytest.fixture
def screen(cli: Cli) -> Iterator[Callable[..., Screen]]:
    screens: list[Screen] = []

    def make(*words: str, **env: str) -> Screen:
        screens.append(Screen(cli, *words, **env))
        screens[-1].until("Ctrl-D leaves")
        screens[-1].until(">")
        return screens[-1]

    yield make
    for one in screens:
        one.close()


def session_in(text: str) -> str:
    found = re.findall(r"ses_[0-9a-z]{25}", text)
    return str(found[-1])


def test_what_is_typed_is_answered_in_one_session(
    cli: Cli, answering: Answering, screen: Callable[..., Screen]
) -> None:
    fake = answering(Scripted(text="# Sum\n\nIt **adds** up."), Scripted(text="Two."))
    at = screen()

    at.type("first?\r")
    at.until("It adds up.")
    at.until(">")
    at.type("one line\\\ranother\x1b\ra third\r")
    at.until("Two.")
    at.until(">")

    assert at.leave() == 0
    turns = shown(cli, session_in(at.shown))["turns"]
    assert [texts(turn, "user") for turn in turns] == ["first?", "one line\nanother\na third"]
    assert len(fake.bodies) == 2


def test_slash_commands_are_for_the_prompt(
    cli: Cli, answering: Answering, screen: Callable[..., Screen]
) -> None:
    fake = answering(Scripted(text="One."))
    at = screen()

    for typed, says in (
        ("/cost", "say something first"),
        ("/hlep", "did you mean /help?"),
        ("/help", "/fork"),
        ("/model openai:gpt-5.4-mini", "is asked from now on"),
    ):
        at.type(f"{typed}\r")
        at.until(says)
        at.until(">")
    assert not fake.bodies
    at.type("first?\r")
    at.until("One.")
    at.until(">")
    for typed, says in (
        ("/cost", "1 calls"),
        ("/context", "turns of this session: 1"),
        ("/model", "answered last: openai:gpt-5.4-mini"),
        ("/fork", "goes on in a copy"),
    ):
        at.type(f"{typed}\r")
        at.until(says)
        at.until(">")
    at.type("second?\r")
    at.until("One.")
    at.until(">")
    at.type("/new\r")
    copy = session_in(at.until("a new session begins"))
    at.until(">")
    at.type("third?\r")
    at.until("One.")
    at.until(">")
    at.type("/exit\r")

    assert at.ended() == 0
    assert [texts(turn, "user") for turn in shown(cli, copy)["turns"]] == ["first?", "second?"]
    new = session_in(at.shown)
    assert [texts(turn, "user") for turn in shown(cli, new)["turns"]] == ["third?"]
    assert len(cli("session", "list", "--json").json["data"]["sessions"]) == 3


def test_ctrl_c_ends_the_answer_and_not_the_conversation(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    holds = Scenario(
        says=(Say(("Half\n\n", "of ", "it", "...")),), delivery=Delivery(cut_after=4, ending="hold")
    )
    with ScriptedUpstream({"gpt-5.4-mini": holds}) as upstream:
        cli.env |= {"OPENAI_API_KEY": "sk-of-nobody", "AIEX_MODEL_OPENAI_URL": f"{upstream.url}/v1"}
        at = screen()
        at.type("first?\r")
        at.until("Half")
        at.process.send_signal(signal.SIGINT)  # what the terminal makes of the key
        at.until("error:")
        at.until(">")
        upstream.scenarios["gpt-5.4-mini"] = Scenario(says=(Say(("So.",)),))
        at.type("second?\r")
        at.until("So.")
        at.until(">")
        at.type("half a line\x03")
        at.until("Ctrl-D leaves")
        at.until(">")
        assert at.leave() == 0
        assert not upstream.violations

    first, second = shown(cli, session_in(at.shown))["turns"]
    assert (first["state"], second["state"]) == ("broken", "done")
    assert texts(first, "assistant").startswith("Half")


def test_what_was_typed_before_is_remembered_for_its_user_alone(
    cli: Cli, answering: Answering, screen: Callable[..., Screen]
) -> None:
    fake = answering(Scripted(text="One."))
    at = screen(AIEX_STATE_DIRECTORY=str(cli.project.parent / "state"))
    at.type("first?\r")
    at.until("One.")
    at.until(">")
    assert at.leave() == 0

    again = screen(AIEX_STATE_DIRECTORY=str(cli.project.parent / "state"))
    again.type("\x1b[A")
    again.until("first?")
    again.type("\r")
    again.until("One.")
    again.until(">")

    assert again.leave() == 0
    assert [body["messages"][-1]["content"] for body in fake.bodies] == ["first?", "first?"]
    history = cli.project.parent / "state/chat_history"
    assert history.stat().st_mode & 0o777 == 0o600


def test_without_colour_words_come_as_they_are(
    answering: Answering, screen: Callable[..., Screen]
) -> None:
    answering(Scripted(text="It **adds** up."))
    at = screen(NO_COLOR="1")

    at.type("first?\r")
    at.until("It **adds** up.")
    at.until(">")

    assert at.leave() == 0
