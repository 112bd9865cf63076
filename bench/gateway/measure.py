"""What one request, and one chunk of a stream, costs at a gateway.

    python bench/gateway/measure.py [--only aiex,bound,litellm] [--litellm PATH] [--quick] [--soak]

Puts the same load on `aiex serve` with everything on (a key, rates, a budget, records, metrics,
events), on the least that a proxy of its make can cost (`bound.py`), and on LiteLLM where PATH is
its program in an environment of its own (`pip install 'litellm[proxy]'`). Each runs on one
processor, provider and clients (`upstream.py`, `load.py`) on the others. CPU is what the kernel
says that the server's threads ran; delays are those of the chunks less the same without a gateway.

Bars: 250 us a request, 90 us a paced chunk, 12 us a saturated chunk, 0.6 ms added at the median,
40 times LiteLLM's requests a second, 70 MB idle, 1.2 s to start, 50 ms added to a chunk at the
99th percentile of 100 streams of 40 chunks a second, 1,000 streams of 4 chunks a second held.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).resolve().parent
_PROCESSORS = sorted(os.sched_getaffinity(0))
_SERVER, _REST = _PROCESSORS[0], _PROCESSORS[1:] or _PROCESSORS


class Target(msgspec.Struct, kw_only=True):
    """A server that is measured.

    Attributes:
        name: Its name.
        pid: Its process.
        port: Where it listens.
        key: Bearer token that it takes.
        prefix: What stands before the names of models.
        started: Seconds from its start to its first answer.
    """

    name: str
    pid: int
    port: int
    key: str
    prefix: str = ""
    started: float = 0.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _descendants(int(child))


def cpu_of(pid: int) -> float:
    """Return the seconds that the threads of *pid* and its children have run."""
    spent = 0
    for process in _descendants(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def rss_of(pid: int) -> float:
    """Return the resident megabytes of *pid* and its children."""
    pages = sum(
        int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in _descendants(pid)
    )
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def process(
    argv: Sequence[str], *, env: dict[str, str], cwd: Path | None = None, log: Path, on: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, on one processor where *on* names it, until the context is left."""
    pinned = ["taskset", "-c", str(on)] if on is not None else []
    with log.open("wb") as out:
        child = subprocess.Popen([*pinned, *argv], env=env, cwd=cwd, stdout=out, stderr=out)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until_it_answers(
    port: int,
    child: subprocess.Popen[bytes],
    log: Path,
    *,
    seconds: float,
    path: str = "",
    key: str = "",
) -> None:
    """Wait until a server listens and, where there is a *path*, answers it with 200."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and child.poll() is None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            link.connect()
            if not path:
                return
            link.request("GET", path, headers={"authorization": f"Bearer {key}"})
            if link.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            link.close()
        time.sleep(0.01)
    raise SystemExit(f"{log.name} does not answer:\n{log.read_text()[-2000:]}")


def load(target: Target, model: str, *, stream: bool, connections: int, requests: int) -> Any:
    """Return what `load.py` reports of *requests* to *target*."""
    asked = {
        "host": "127.0.0.1",
        "port": target.port,
        "path": "/v1/chat/completions",
        "key": target.key,
        "model": target.prefix + model,
        "stream": stream,
        "connections": connections,
        "requests": requests,
    }
    argv = ["taskset", "-c", ",".join(map(str, _REST)), sys.executable, str(HERE / "load.py")]
    done = subprocess.run([*argv, json.dumps(asked)], capture_output=True, check=True)
    report = json.loads(done.stdout)
    if report["failed"]:
        raise SystemExit(f"{target.name}: {report['failed']} failed: {report['errors']}")
    return report


@contextmanager
def aiex(upstream: int, folder: Path) -> Iterator[Target]:
    """Run `aiex serve` with everything on."""
    port = free_port()
    config = folder / "config.toml"
    config.write_text(
        '[model]\norder = ["openai"]\nstrategy = "load_balanced"\n'
        f'openai_url = "http://127.0.0.1:{upstream}/v1"\n'
        '[limits.each]\nscope = "user:*"\nrequests = 100000000\ntokens = 100000000000\n'
        '[limits.upstream]\nscope = "provider:*"\nrequests = 100000000\nconcurrency = 100000\n'
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AIEX_CONFIG": str(config),
        "AIEX_STATE_DIRECTORY": str(folder / "state"),
        "OPENAI_API_KEY": "sk-of-nobody-at-all",
    }
    run = [sys.executable, "-m", "aiex"]
    made = subprocess.run(
        [*run, "key", "create", "--name", "bench", "--json"],
        env=env, cwd=folder, capture_output=True, check=True,
    )  # fmt: skip
    key = json.loads(made.stdout)["data"]["key"]
    subprocess.run(
        [*run, "budget", "set", "1000000", "--scope", "user:*", "--per", "month"],
        env=env, cwd=folder, capture_output=True, check=True,
    )  # fmt: skip
    log, begun = folder / "aiex.log", time.monotonic()
    with process(
        [*run, "serve", "--port", str(port)], env=env, cwd=folder, log=log, on=_SERVER
    ) as child:
        until_it_answers(port, child, log, seconds=20, path="/readyz", key=key)
        started = time.monotonic() - begun
        yield Target(
            name="aiex", pid=child.pid, port=port, key=key,
            prefix="openai:gpt-5.4-mini:", started=started,
        )  # fmt: skip


@contextmanager
def bound(upstream: int, folder: Path) -> Iterator[Target]:
    """Run the least that a proxy can be."""
    port, log, begun = free_port(), folder / "bound.log", time.monotonic()
    address = f"http://127.0.0.1:{upstream}/v1/chat/completions"
    argv = [sys.executable, str(HERE / "bound.py"), str(port), address]
    with process(argv, env=dict(os.environ), log=log, on=_SERVER) as child:
        until_it_answers(port, child, log, seconds=20)
        yield Target(
            name="bound", pid=child.pid, port=port, key="none", started=time.monotonic() - begun
        )


@contextmanager
def litellm(program: str, upstream: int, folder: Path) -> Iterator[Target]:
    """Run LiteLLM's proxy."""
    port, log, begun = free_port(), folder / "litellm.log", time.monotonic()
    models = ["plain", "paced-40-80", "burst-2000"]
    listed = "".join(
        f"  - model_name: {name}\n    litellm_params:\n      model: openai/{name}\n"
        f"      api_base: http://127.0.0.1:{upstream}/v1\n      api_key: sk-nobody\n"
        for name in models
    )
    config = folder / "litellm.yaml"
    config.write_text(f"model_list:\n{listed}general_settings:\n  master_key: sk-bench\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_TELEMETRY": "False",
           "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}  # fmt: skip
    argv = [program, "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    with process(argv, env=env, cwd=folder, log=log, on=_SERVER) as child:
        until_it_answers(port, child, log, seconds=120, path="/health/liveliness", key="sk-bench")
        yield Target(
            name="litellm", pid=child.pid, port=port, key="sk-bench",
            started=time.monotonic() - begun,
        )  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def per(target: Target, run: Callable[[], Any], what: str) -> tuple[float, Any]:
    """Return the microseconds of CPU for each of *what* in the report of *run*, and the report."""
    before = cpu_of(target.pid)
    report = run()
    return (cpu_of(target.pid) - before) / report[what] * 1e6, report


def measure(target: Target, direct: Target, *, size: float) -> dict[str, float]:
    """Return the figures of one server."""
    time.sleep(2)
    found: dict[str, float] = {"starts in, s": target.started, "idle RSS, MB": rss_of(target.pid)}
    heavy = target.name == "litellm"
    count = int((300 if heavy else 5000) * size)
    load(target, "plain", stream=False, connections=8, requests=max(50, count // 5))
    rounds = [
        per(
            target,
            lambda: load(target, "plain", stream=False, connections=16, requests=count),
            "requests",
        )
        for _ in range(3)
    ]
    found["CPU a request, us"] = statistics.median(us for us, _ in rounds)
    found["requests a second"] = statistics.median(
        report["requests"] / report["seconds"] for _, report in rounds
    )
    alone = [
        statistics.median(
            load(one, "plain", stream=False, connections=1, requests=count // 10)["latencies"]
        )
        for one in (target, direct)
    ]
    found["added at the median, ms"] = (alone[0] - alone[1]) / 1e6
    streams = 10 if heavy else 100
    paced, report = per(
        target,
        lambda: load(target, "paced-40-80", stream=True, connections=streams, requests=streams),
        "chunks",
    )
    bare = load(direct, "paced-40-80", stream=True, connections=streams, requests=streams)
    found["CPU a paced chunk, us"] = paced
    found[f"added to a chunk of {streams} streams, p99, ms"] = (
        percentile(report["delays"], 0.99) - percentile(bare["delays"], 0.99)
    ) / 1e6
    requests = 4 if heavy else int(40 * size)
    found["CPU a saturated chunk, us"], _ = per(
        target,
        lambda: load(target, "burst-2000", stream=True, connections=4, requests=requests),
        "chunks",
    )
    if target.name == "aiex":
        slow = load(target, "paced-4-40", stream=True, connections=1000, requests=1000)
        found["slow streams held at once"] = slow["requests"]
        found["chunks of theirs, of 41,000"] = slow["chunks"]
    found["RSS at the end, MB"] = rss_of(target.pid)
    return found


def soak(target: Target, store: Path, *, size: float) -> None:
    """Say how memory grows over many requests whose records cannot be written."""
    link = sqlite3.connect(store, timeout=30)
    link.execute(
        "CREATE TRIGGER sink_is_broken BEFORE INSERT ON r_llm_interaction "
        "BEGIN SELECT RAISE(ABORT, 'the sink is broken'); END"
    )
    link.commit()
    link.close()
    count = int(100_000 * size)
    load(target, "plain", stream=False, connections=16, requests=count // 5)
    before = rss_of(target.pid)
    load(target, "plain", stream=False, connections=16, requests=count)
    after = rss_of(target.pid)
    print(f"RSS over {count} requests with a broken sink: {before:.1f} to {after:.1f} MB", end=", ")
    print(f"{(after / before - 1) * 100:+.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="bound,aiex,litellm")
    parser.add_argument("--litellm", default=shutil.which("litellm"))
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests")
    parser.add_argument("--soak", action="store_true", help="memory, with a broken sink, alone")
    asked = parser.parse_args()
    wanted, size = asked.only.split(","), 0.2 if asked.quick else 1.0
    results: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        log = folder / "upstream.log"
        argv = [sys.executable, str(HERE / "upstream.py"), str(port)]
        child = stack.enter_context(process(argv, env=dict(os.environ), log=log, on=_REST[0]))
        until_it_answers(port, child, log, seconds=10)
        direct = Target(name="direct", pid=child.pid, port=port, key="none")
        if asked.soak:
            with aiex(port, folder) as target:
                soak(target, folder / "state" / "aiex.db", size=size)
            return
        if "bound" in wanted:
            with bound(port, folder) as target:
                results["bound"] = measure(target, direct, size=size)
        if "aiex" in wanted:
            with aiex(port, folder) as target:
                results["aiex"] = measure(target, direct, size=size)
        if "litellm" in wanted and asked.litellm:
            with litellm(asked.litellm, port, folder) as target:
                results["litellm"] = measure(target, direct, size=size)
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    print(f"{'':44}" + "".join(f"{name:>12}" for name in results))
    for name in names:
        cells = [results[one].get(name) for one in results]
        print(f"{name:44}" + "".join(f"{'' if c is None else f'{c:.2f}':>12}" for c in cells))
    if {"aiex", "litellm"} <= results.keys():
        ratio = results["aiex"]["requests a second"] / results["litellm"]["requests a second"]
        print(f"{'requests a second, times LiteLLM':44}{ratio:>12.1f}")


if __name__ == "__main__":
    main()
