"""What a command costs before it does anything: CPU seconds, as ratios taken in one run.

    python bench/cold_start.py [--runs N]

`aiex --help`, `aiex help explain` and `aiex version` are set against `python -c pass` (bar: 2.5),
and `aiex explain FILE` up to the arrival of its request at a provider against
`python -c "import aiohttp"` (bar: 2.0), on a warm cache. CPU is user and system time of the
process and its threads; runs are interleaved, so that a noisy machine is noisy to all of them.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
REPLY = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"ok"},"finish_reason":null}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-5.4-mini",'
    b'"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


def cpu_of_run(argv: list[str], env: dict[str, str]) -> float:
    """Return the CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, cwd=PROJECT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def cpu_of_process(pid: int) -> float:
    """Return the CPU seconds that a running process has used, its threads included."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


class Provider:
    """Answers one request at a time, and notes what its sender had used when it arrived."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self.pid = 0
        self.spent = 0.0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                self.spent = cpu_of_process(self.pid)
                head, _, body = received.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                while len(body) < length:
                    body += connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(REPLY) + REPLY
                )


def cpu_to_request(provider: Provider, env: dict[str, str]) -> float:
    """Return the CPU seconds that `aiex explain` used until its request had arrived."""
    argv = [sys.executable, "-m", "aiex", "explain", "src/aiex/llm/strategies.py"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, cwd=PROJECT) as process:
        provider.pid = process.pid
    if process.returncode:
        raise SystemExit("explain failed")
    return provider.spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    aiex = [sys.executable, "-m", "aiex"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "aiex --help": [*aiex, "--help"],
        "aiex help explain": [*aiex, "help", "explain"],
        "aiex version": [*aiex, "version"],
        "import aiohttp": [sys.executable, "-c", "import aiohttp"],
    }
    provider = Provider()
    with tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "OPENAI_API_KEY": "sk-of-nobody",
            "AIEX_MODEL_OPENAI_URL": provider.url,
            "AIEX_MODEL_ORDER": "openai",
        }
        cpu_to_request(provider, env)  # fills the cache
        spent: dict[str, list[float]] = {name: [] for name in [*commands, "explain"]}
        for _ in range(runs):
            for name, argv in commands.items():
                spent[name].append(cpu_of_run(argv, env))
            spent["explain"].append(cpu_to_request(provider, env))
    medians = {name: statistics.median(times) for name, times in spent.items()}
    bare, aiohttp = medians["python -c pass"], medians["import aiohttp"]
    print(f"{'':24}  median CPU   ratio   bar")
    for name in ("aiex --help", "aiex help explain", "aiex version"):
        print(f"{name:24}  {medians[name]:7.3f} s   {medians[name] / bare:5.2f}   2.5")
    ratio = medians["explain"] / aiohttp
    print(f"{'explain to its request':24}  {medians['explain']:7.3f} s   {ratio:5.2f}   2.0")
    print(f"python -c pass {bare:.3f} s, import aiohttp {aiohttp:.3f} s, {runs} runs")


if __name__ == "__main__":
    main()
