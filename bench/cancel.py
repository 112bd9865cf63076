"""How soon a provider sees that its client was interrupted.

    python bench/cancel.py [--runs N]

Starts `aiex explain` against a server that stops in the middle of a reply, sends SIGINT once the
first word was shown, and measures the time until the server sees the connection closed (bar:
0.1 s) and until the process has ended with 130.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiex.testing.fake_openai import FakeOpenAI, Scripted

PROJECT = Path(__file__).resolve().parent.parent


def once(env: dict[str, str], fake: FakeOpenAI) -> tuple[float, float]:
    """Return the seconds from the signal to the closed connection, and to the end."""
    argv = [sys.executable, "-m", "aiex", "explain", "src/aiex/llm/strategies.py", "--jsonl"]
    seen = len(fake.left)
    with subprocess.Popen(
        argv, env=env, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"type":"text"' in line:
                break
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait()
        ended = time.monotonic()
    if code != 130:
        raise SystemExit(f"ended with {code}")
    while len(fake.left) == seen:
        time.sleep(0.001)
    return fake.left[-1] - sent, ended - sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    answer = Scripted(text="It chooses one.", holds=True)
    with FakeOpenAI([answer]) as fake, tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "OPENAI_API_KEY": "sk-of-nobody",
            "AIEX_MODEL_OPENAI_URL": fake.url,
            "AIEX_MODEL_ORDER": "openai",
        }
        times = [once(env, fake) for _ in range(runs)]
    for number, what in enumerate(("connection closed", "process ended")):
        spent = [pair[number] for pair in times]
        print(
            f"{what:18} median {statistics.median(spent) * 1000:6.1f} ms, "
            f"longest {max(spent) * 1000:6.1f} ms of {runs}"
        )


if __name__ == "__main__":
    main()
