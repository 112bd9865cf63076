"""The embedded model's server: a program of its own, so that what befalls it does not befall Aiex.

    python local_server.py MODEL.gguf --name NAME --context TOKENS

The first line of its input is the token that requests must bear; when the input ends, it ends. It
listens on loopback, on a port of the system's choice, and says on one line of output where:
`{"port": 40123}`, or `{"error": "..."}` before it gives up. What llama.cpp has to say goes to
standard error.

It is run by its path: nothing of Aiex is imported, which keeps it small and quick to start.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from urllib.parse import urlsplit

_LOG_ERRORS = 1


def main() -> None:
    """Serve until the input ends."""
    options = argparse.ArgumentParser(prog="local_server")
    options.add_argument("model")
    options.add_argument("--name", required=True)
    options.add_argument("--context", type=int, required=True)
    chosen = options.parse_args()
    token = sys.stdin.readline().strip()
    if not token:
        _say({"error": "no token was given"})
        sys.exit(2)
    # Loading a large model takes long, and must not outlive us either.
    watch = threading.Thread(target=_end_with_the_input, daemon=True)
    watch.start()
    try:
        server, port = _serve(chosen.model, chosen.name, chosen.context, token)
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        _say({"error": str(error)})
        sys.exit(1)
    _say({"port": port})
    watch.join()
    del server


def _serve(model: str, name: str, context: int, token: str) -> tuple[object, int]:
    import xllamacpp  # noqa: PLC0415

    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.model_alias = [name]
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.api_keys = [token]
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.ui = False
    settings.endpoint_slots = False
    settings.cors_origins = ""
    settings.cors_credentials = False
    # The threads wait for each other in a loop at every layer: one too many for a busy machine
    # makes a token take thirty times as long. Half of them lose a third on an idle one.
    processors = os.cpu_count() or 2
    settings.cpuparams.n_threads = max(1, processors // 2)
    settings.cpuparams_batch.n_threads = processors
    settings.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts
    settings.verbosity = _LOG_ERRORS
    server = xllamacpp.Server(settings)
    port = urlsplit(server.listening_address).port
    if port is None:
        raise RuntimeError("the server does not say where it listens")
    return server, port


def _end_with_the_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    # Nothing of worth is held, and the server's own end waits for replies under way.
    os._exit(0)


def _say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201  # its reader is a program


if __name__ == "__main__":
    main()
