"""A server that answers with whatever bytes a test wants, and sees who comes and goes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handle = Callable[[ByteStream], Awaitable[None]]


class Server:
    """What is known of a server that runs.

    Attributes:
        port: Where it listens.
        came: Connections that were taken.
        here: Connections that are open.
        left: Set when the last of them has ended.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.came = 0
        self.here = 0
        self.left = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until_all_left(self) -> None:
        with anyio.fail_after(5):
            while self.here:
                self.left = anyio.Event()
                await self.left.wait()


@asynccontextmanager
async def serving(
    handle: Handle, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Server, None]:
    """Serve each connection with *handle*, and close it then."""

    async def one(client: ByteStream) -> None:
        server.came += 1
        server.here += 1
        try:
            async with client:
                await handle(client)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        finally:
            server.here -= 1
            if not server.here:
                server.left.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=2048)
    server = Server(listener.extra(SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(
            (TLSListener(listener, tls, standard_compatible=False) if tls else listener).serve, one
        )
        yield server
        tasks.cancel_scope.cancel()


def always(answer: bytes, *, then_close: bool = False) -> Handle:
    """Return what answers each request (of which none comes in two pieces) with *answer*."""

    async def handle(client: ByteStream) -> None:
        while True:
            await client.receive()
            await client.send(answer)
            if then_close:
                return

    return handle


async def hold(client: ByteStream) -> None:
    """Answer nothing until the client leaves."""
    while True:
        await client.receive()


def certificate_of(name: str, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a certificate for *name* that vouches for itself, and who serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, both = folder / "ca.pem", folder / "server.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(
        public.read_bytes()
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    return public, context
