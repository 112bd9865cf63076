"""Keys of the gateway through the program: made, shown once, listed, revoked in every process."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

KEY = re.compile(r"aiex_[0-9a-z]{10}_[A-Za-z0-9_-]{43}")

TAKES_IT_UNTIL_REFUSED = """
import sys, anyio
from pathlib import Path
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, GatewayKeys, KeyAuthenticator
from aiex.core import UnauthenticatedError
from aiex.runtime import SystemClock

async def main(state, token):
    clock = SystemClock()
    async with SqliteStore(state / "aiex.db", TABLES, clock=clock) as store:
        keys = GatewayKeys(store, pepper=state / "gateway.pepper")
        async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
            print(authenticator.authenticate(token, interface="http").user, flush=True)
            with anyio.fail_after(30):
                while True:
                    await anyio.sleep(0.005)
                    try:
                        authenticator.authenticate(token, interface="http")
                    except UnauthenticatedError as error:
                        print(error.message, flush=True)
                        return

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
"""


def state_of(cli: Cli) -> Path:
    return Path(cli.env["HOME"]) / ".local" / "state" / "aiex"


def test_only_the_key_goes_to_standard_output_and_into_nothing_else(cli: Cli) -> None:
    cli.env["AIEX_CLI_LOG_LEVEL"] = "debug"
    made = cli("key", "create", "--name", "ci", "-v")

    assert made.code == 0, made.err
    token = made.out.strip()
    assert KEY.fullmatch(token)
    secret = token.split("_", 2)[2]  # which may hold that sign, too
    forms = [secret, secret.encode().hex(), base64.b64encode(token.encode()).decode()[4:-4]]
    told = made.err + cli("key").out + cli("audit", "--json").out
    kept = b"".join(p.read_bytes() for p in Path(cli.env["HOME"]).rglob("*") if p.is_file())
    for form in forms:
        assert form not in told
        assert form.encode() not in kept
    assert token.split("_")[1] in told


def test_json_and_jsonl_have_the_key_once(cli: Cli) -> None:
    made = cli("key", "create", "--json")
    assert KEY.fullmatch(made.json["data"]["key"])
    assert len(KEY.findall(made.out)) == 1
    assert KEY.search(made.err) is None
    lines = cli("key", "create", "--jsonl")
    assert len(KEY.findall(lines.out)) == 1
    listed = cli("key", "list", "--json")
    assert len(listed.json["data"]["keys"]) == 2
    assert KEY.search(listed.out) is None


def test_a_dry_run_shows_no_key(cli: Cli) -> None:
    would = cli("key", "create", "--dry-run", "--expires", "90d", "--concurrency", "2")
    assert would.code == 0
    assert KEY.search(would.out + would.err) is None
    assert "2 at a time" in would.out
    assert cli("key").out == ""


def test_a_revoked_key_is_refused_in_another_process(cli: Cli) -> None:
    token = cli("key", "create", "--user", "bob").out.strip()
    argv = [sys.executable, "-c", TAKES_IT_UNTIL_REFUSED, str(state_of(cli)), token]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=cli.env) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "bob\n"
        revoked = cli("key", "revoke", token)  # as it was pasted: only its identifier is sent
        assert revoked.code == 0, revoked.err
        assert token not in revoked.out + revoked.err
        assert "was revoked" in other.stdout.readline()
    assert other.returncode == 0
    (key,) = cli("key", "list", "--json").json["data"]["keys"]
    assert (key["state"], key["user"]) == ("revoked", "bob")
    assert "last_used" in key


def test_what_is_wrong_is_said(cli: Cli) -> None:
    unknown = cli("key", "revoke", "nobody")
    assert unknown.code == 2
    assert "there is no key 'nobody'" in unknown.err
    assert "aiex key list" in unknown.err
    when = cli("key", "create", "--expires", "soon")
    assert when.code == 2
    assert "90d" in when.err
    past = cli("key", "create", "--expires", "2020-01-01")
    assert past.code == 2
    assert "expired already" in past.err
    role = cli("key", "create", "--role", "amdin")
    assert role.code == 2
    assert "did you mean admin?" in role.err
