"""`aiex serve` as a real process: its workers, its signals, its certificate."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECONDS = 20.0


class Server:
    """A server that runs."""

    def __init__(self, folder: Path, *words: str, **env: str) -> None:
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("AIEX_")},
            "HOME": str(folder),
            "AIEX_STATE_DIRECTORY": str(folder / "state"),
            "AIEX_CONFIG": str(folder / "aiex.toml"),
            "AIEX_MODEL_OLLAMA_URL": "http://127.0.0.1:9",
            "AIEX_MODEL_LM_STUDIO_URL": "http://127.0.0.1:9",
            **env,
        }
        (folder / "aiex.toml").write_text("")
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aiex", "--json", "serve", "--port", "0", *words],
                env=self.env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.said = self._read()
        self.address: str = self.said["address"]
        self.port = int(self.address.rsplit(":", 1)[1])
        self.token = Path(self.said["token_file"]).read_text().strip()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = ""
        for line in iter(self.process.stdout.readline, b""):
            text += line.decode()
            if line == b"}\n":
                found: dict[str, Any] = json.loads(text)["data"]
                return found
        raise AssertionError(f"it ended: {text}{self.errors.read_text()}")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def get(self, path: str, client: http.client.HTTPConnection | None = None) -> tuple[int, str]:
        one = client or self.connect()
        one.request("GET", path, headers={"authorization": f"Bearer {self.token}"})
        said = one.getresponse()
        text = said.read().decode()
        if client is None:
            one.close()
        return said.status, text

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Server] = []

    def start_one(*words: str, **env: str) -> Server:
        started.append(Server(tmp_path, *words, **env))
        return started[-1]

    yield start_one
    for server in started:
        with suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait(SECONDS)
        if server.process.stdout is not None:
            server.process.stdout.close()


def _until(claim: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_by_a_signal(
    start: Start, number: signal.Signals
) -> None:
    server = start()
    assert server.get("/readyz")[0] == 200
    assert server.get("/api/v1")[0] == 200
    held = server.connect()
    held.request("GET", "/livez")
    held.getresponse().read()
    assert server.end(number) == 0
    held.close()
    assert server.errors.read_text() == ""


def test_a_worker_that_dies_is_started_again_and_takes_nobody_with_it(
    start: Start, children_of: Callable[[int, str], list[int]]
) -> None:
    server = start("--workers", "2")
    workers = children_of(server.process.pid, "--as-worker")
    assert len(workers) == 2
    clients = [server.connect() for _ in range(16)]  # the kernel spreads them
    for client in clients:
        assert server.get("/livez", client)[0] == 200

    os.kill(workers[0], signal.SIGKILL)
    alive = 0
    for client in clients:
        with suppress(OSError, http.client.HTTPException):
            alive += server.get("/livez", client)[0] == 200
        client.close()
    assert alive > 0

    _until(lambda: _up(server) == {"0": "1", "1": "1"})
    again = children_of(server.process.pid, "--as-worker")
    assert len(again) == 2
    assert workers[0] not in again
    assert workers[1] in again
    assert server.end() == 0
    assert not [pid for pid in again if Path(f"/proc/{pid}").exists()]


def _up(server: Server) -> dict[str, str]:
    with suppress(OSError, http.client.HTTPException):
        lines = server.get("/metrics")[1].split("\n")
        up = [line for line in lines if line.startswith("aiex_worker_up{")]
        return {line.split('"')[1]: line.rsplit(" ", 1)[1] for line in up}
    return {}


def test_every_scrape_tells_of_all_workers(start: Start) -> None:
    server = start("--workers", "2")
    for _ in range(24):
        assert server.get("/v1/chat/completions")[0] == 405
    for _ in range(4):
        text = server.get("/metrics")[1]
        lines = text.split("\n")
        assert sum(line.startswith("# TYPE aiex_http_connections ") for line in lines) == 1
        assert {line.split('"')[1] for line in lines if "aiex_http_connections{" in line} == {
            "0",
            "1",
        }
    assert server.end() == 0


@pytest.mark.parametrize("env", [{}, {"PATH": ""}], ids=["with setpriv", "without setpriv"])
def test_workers_end_with_the_process_that_started_them(
    start: Start, children_of: Callable[[int, str], list[int]], env: dict[str, str]
) -> None:
    server = start("--workers", "2", **env)
    workers = children_of(server.process.pid, "--as-worker")
    server.end(signal.SIGKILL)
    _until(lambda: not any(_lives(pid) for pid in workers))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_it_serves_with_a_certificate_and_nothing_without(start: Start, tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    server = start("--cert", str(cert), "--key", str(key))
    assert server.address.startswith("https://")
    context = ssl.create_default_context(cafile=str(cert))
    client = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=SECONDS)
    client.request("GET", "/readyz", headers={"authorization": f"Bearer {server.token}"})
    assert client.getresponse().status == 200
    client.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        server.get("/livez")
    assert server.end() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "nothing encrypts"),
        (("--cert", "cert.pem"), "go together"),
        (("--workers", "2", "--socket", "s"), "one process"),
        (("--host", "192.0.2.1", "--cert", "cert.pem", "--key", "key.pem"), "192.0.2.1"),
    ],
)
def test_what_it_refuses_to_serve_like(cli: Any, words: tuple[str, ...], said: str) -> None:
    ended = cli("serve", *words)

    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file
