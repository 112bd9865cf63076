"""The searchable index of one project: two tantivy indexes (code, prose) and a table of files.

A folder of the user's cache holds it, and it can be lost: what is damaged, or of another version,
is built anew, and `ContextIndex.rebuilt` says why. The table says of each file what `stat` said
when it was read, so that only what was touched is read again, and only what changed is indexed.

A file's pieces are committed before its row is written: after a kill in between it is indexed once
more. One process writes at a time; others search what is there. One process makes or deletes it at
a time, while nobody writes; who has it open then notices before they write.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec
import tantivy

from aiex.code import CHUNK_VERSION, Chunk, FileFacts, FileKind
from aiex.context.cache import FileStat
from aiex.context.query import Query
from aiex.context.terms import joined_terms
from aiex.core import StoreBusyError, StoreError

__all__ = [
    "INDEX_VERSION",
    "Changed",
    "ContextIndex",
    "Found",
    "IndexSize",
    "IndexUpdate",
    "Piece",
    "ReadFile",
]

INDEX_VERSION: Final = f"1.{CHUNK_VERSION}"
"""Version of what is stored; an index of another one is built anew."""

_KINDS: Final[tuple[FileKind, ...]] = ("code", "test", "example", "generated", "prose", "config")
_CODE_KINDS: Final = frozenset({"code", "test", "example", "generated"})
_DAMAGE: Final = (sqlite3.Error, ValueError, OSError, msgspec.MsgspecError)
_RACY_NS = 2_000_000_000
_HEAP_BYTES = 64 << 20
_LOCK_SECONDS = 0.02
_NAMES_OF_PATH, _NAMES_OF_FILE, _OF_SYMBOLS = 2, 2, 4  # how often they count as text

_TABLES = (
    """CREATE TABLE IF NOT EXISTS file (
        path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER,
        device INTEGER, seen INTEGER, digest TEXT, kind TEXT, chunks INTEGER, lines INTEGER
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
)


class ReadFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file, ready to be indexed.

    Attributes:
        stat: What the file system said of it before it was read.
        digest: SHA-256 of its content, hexadecimal.
        content: Its bytes.
        kind: What it is.
        chunks: Its pieces; empty for what is not searched, such as a binary.
        facts: What is known of it; `None` where its language is not read.
    """

    stat: Any
    digest: str
    content: bytes
    kind: FileKind
    chunks: tuple[Chunk, ...]
    facts: FileFacts | None = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """How a tree differs from what is indexed.

    Attributes:
        touched: Files that may have changed, or are new.
        gone: Paths that are not there any more.
        digests: Digests of those of *touched* that are indexed, by path.
    """

    touched: tuple[Any, ...]
    gone: tuple[str, ...]
    digests: Mapping[str, str]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a chunk.

    Attributes:
        path: Its file, relative to the root.
        scope: Qualified name of the definition around it; may be empty.
        symbols: Qualified names of what it defines.
        heads: The head of each of *symbols*, in their order.
        signature: Head of the definition around it; may be empty.
    """

    path: str
    scope: str = ""
    symbols: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    signature: str = ""


class Found(NamedTuple):
    """A chunk that a search found.

    Attributes:
        score: How well it fits, more than 0.
        file: Number of its file.
        start_line: First line, 1-based.
        end_line: Last line.
        kind: What its file is.
        place: Where the index keeps it; for `ContextIndex.pieces`.
    """

    score: float
    file: int
    start_line: int
    end_line: int
    kind: FileKind
    place: tuple[bool, Any]


class IndexSize(msgspec.Struct, frozen=True, kw_only=True):
    """How much is indexed.

    Attributes:
        files: Files, by kind.
        chunks: Searchable pieces.
        lines: Lines of all files.
        bytes_on_disk: Bytes that the index takes.
        updated_at_ns: When it was last brought up to date, nanoseconds since 1970; 0 for never.
    """

    files: Mapping[str, int]
    chunks: int
    lines: int
    bytes_on_disk: int
    updated_at_ns: int


class ContextIndex:
    """The index of one project. Entered before use; not for several threads at once.

    Args:
        folder: Where the indexes of all projects are.
        root: Absolute path of the project.
        patience: Seconds that other processes are waited for.

    Attributes:
        rebuilt: Why the index was built anew; empty if it was not.
    """

    def __init__(self, folder: Path, root: str, *, patience: float = 10.0) -> None:
        name = hashlib.blake2b(os.fsencode(root), digest_size=10).hexdigest()
        self._root = root
        self._folder = folder / name
        self._patience = patience
        self.rebuilt = ""

    def __enter__(self) -> Self:
        # To make a database is nothing that SQLite lets several processes do at once.
        with self._alone():
            try:
                self._open()
            except _DAMAGE as error:
                self._refuse_if_busy(error)
                self._rebuild(f"it could not be read: {error}")
            except BaseException as error:
                if not _is_panic(error):
                    raise
                self._rebuild("it is damaged")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._table.close()

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def _open(self) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        path = self._folder / "files.db"
        self._table = sqlite3.connect(
            path, isolation_level=None, timeout=self._patience, check_same_thread=False
        )
        try:
            self._inode = path.stat().st_ino
            self._table.execute("PRAGMA journal_mode=WAL")
            self._table.execute("PRAGMA synchronous=NORMAL")
            self._table.execute("BEGIN IMMEDIATE")  # of several that begin, one makes it
            self._prepare()
            self._table.execute("COMMIT")
            self._code = _Texts(self._folder / "code")
            self._prose = _Texts(self._folder / "prose")
            self._code.check()
            self._prose.check()
        except BaseException:
            self._table.close()
            raise

    def _prepare(self) -> None:
        """Make the tables, or see that they and the texts are of one piece.

        Raises:
            ValueError: They are not.
        """
        for table in _TABLES:
            self._table.execute(table)
        found = dict(self._table.execute("SELECT name, value FROM about"))
        texts = [self._folder / "code", self._folder / "prose"]
        if not found:
            for text in texts:  # without their table nothing would ever be taken out of them
                shutil.rmtree(text, ignore_errors=True)
            self._table.executemany(
                "INSERT INTO about VALUES (?, ?)",
                [("version", INDEX_VERSION), ("root", self._root)],
            )
        elif found.get("version") != INDEX_VERSION:
            raise ValueError("it was made by another version")
        elif "updated" in found and not all((text / "meta.json").exists() for text in texts):
            raise ValueError("a part of it is missing")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who makes or deletes this index.

        Raises:
            StoreError: Another process does for too long, or nothing can be written there.
        """
        path = self._folder.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = path.open("w")
        except OSError as error:
            raise self._unmakable(error) from error
        with lock:
            if not _locked(lock.fileno(), self._patience):
                raise self._busy("opening it")
            yield

    def _rebuild(self, reason: str) -> None:
        self.rebuilt = reason
        self._delete()
        try:
            self._open()
        except _DAMAGE as error:
            self._refuse_if_busy(error)
            raise self._unmakable(error) from error

    def forget(self) -> None:
        """Delete the index; it must not be used afterwards, but may be entered again.

        Raises:
            StoreError: Another process writes to it.
        """
        with suppress(AttributeError):
            self._table.close()
        with self._alone():
            self._delete()

    def _delete(self) -> None:
        with self._writing() as is_ours:
            if not is_ours:
                raise self._busy("writing to it")
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _writing(self) -> Iterator[bool]:
        """Be the only one who writes to what is in the folder; say whether that is so."""
        try:
            lock = (self._folder / "lock").open("w")
        except (FileNotFoundError, NotADirectoryError):  # there is nothing that others write to
            yield True
            return
        except OSError as error:
            raise self._unmakable(error) from error
        with lock:
            yield _locked(lock.fileno(), self._patience)

    def _is_replaced(self) -> bool:
        """Return whether another process has deleted what this one has open."""
        try:
            return (self._folder / "files.db").stat().st_ino != self._inode
        except OSError:
            return True

    def _refuse_if_busy(self, error: BaseException) -> None:
        """Raise an error if *error* says that others are at work, which is no damage."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise self._busy("changing it") from error

    def _busy(self, what: str) -> StoreBusyError:
        return StoreBusyError(
            f"another process has been {what} for {self._patience:g} s: the index in "
            f"{self._folder}",
            hint="try again once it has ended",
        )

    def _unmakable(self, error: BaseException) -> StoreError:
        return StoreError(
            f"the index in {self._folder} cannot be made: {error}",
            hint="look at the folder's permissions and at the space on its disk",
        )

    # ------------------------------------------------------------ keeping up

    def compare(self, files: Sequence[FileStat]) -> Changed:
        """Return how *files*, all of the project's, differ from what is indexed."""
        columns = "path, size, mtime, ctime, inode, device, seen"
        rows = {row[0]: row for row in self._table.execute(f"SELECT {columns} FROM file")}  # noqa: S608
        touched: list[FileStat] = []
        known: list[FileStat] = []
        for file in files:
            row = rows.pop(os.fsencode(file.path), None)
            if row is None:
                touched.append(file)
                continue
            stamp = row[1:-1]
            is_settled = max(file.mtime_ns, file.ctime_ns) + _RACY_NS < row[-1]
            if not is_settled or stamp != _stamp(file):
                touched.append(file)
                known.append(file)
        digests = self._digests_of(known)
        gone = tuple(os.fsdecode(path) for path in rows)
        return Changed(touched=tuple(touched), gone=gone, digests=digests)

    def _digests_of(self, files: Iterable[FileStat]) -> dict[str, str]:
        """Return the digests of those of *files* that are known, however many others write."""
        query = "SELECT digest FROM file WHERE path = ?"
        rows = ((f.path, self._table.execute(query, (os.fsencode(f.path),))) for f in files)
        return {path: row[0] for path, found in rows for row in found}

    @contextmanager
    def updating(self) -> Iterator[IndexUpdate | None]:
        """Hand out what writes to the index; `None` if another process writes for too long.

        `None` as well if another one has made the index anew, since this one has the old one open.

        What was written is there once the block ends; an error takes it all back.
        """
        with self._writing() as is_ours:
            if not is_ours or self._is_replaced():
                yield None
                return
            self._code.reload()  # what others wrote meanwhile
            self._prose.reload()
            update = IndexUpdate(self._table, self._code, self._prose)
            try:
                yield update
                update.commit()
            except BaseException:
                update.roll_back()
                raise

    # ------------------------------------------------------------ asking

    def find(self, query: Query, *, limit: int) -> list[Found]:
        """Return the chunks that fit *query*, best first within each kind of file.

        Args:
            query: What is asked.
            limit: Most chunks of code; of everything else a third of it each.
        """
        few = max(1, limit // 3)
        found = self._code.find(query, ["code"], limit)
        found += self._code.find(query, ["test"], limit if query.wants_tests else few)
        found += self._code.find(query, ["example", "generated"], few)
        found += self._prose.find(query, ["prose", "config"], few)
        return found

    def defining(self, name: str, *, limit: int) -> list[Found]:
        """Return the chunks that define *name*, as written and without its scope."""
        return self._code.having("defines", name, limit)

    def calling(self, name: str, *, limit: int) -> list[Found]:
        """Return the chunks that call *name*, as written and without its receiver."""
        return self._code.having("calls", name, limit)

    def callers(self, name: str) -> int:
        """Return how many chunks call *name*."""
        return self._code.count("calls", name)

    def within(self, file: int) -> list[Found]:
        """Return all chunks of a file."""
        return self._code.of_file(file) or self._prose.of_file(file)

    def rarity(self, stems: Sequence[str]) -> dict[str, float]:
        """Return the inverse document frequency of each of *stems* in code, as BM25 counts it.

        A stem that nothing has is as rare as can be, which its being in `unknown` tells.
        """
        return self._code.rarity(stems)

    def unknown(self, stems: Sequence[str]) -> frozenset[str]:
        """Return those of *stems* that no chunk of code has."""
        return self._code.unknown(stems)

    def pieces(self, found: Sequence[Found]) -> list[Piece]:
        """Return what is stored of each of *found*."""
        texts = {True: self._code, False: self._prose}
        return [texts[is_code].piece(address) for is_code, address in (f.place for f in found)]

    def all_pieces(self) -> Iterator[tuple[Found, Piece]]:
        """Yield every chunk of code."""
        return self._code.everything()

    def paths(self) -> list[str]:
        """Return the paths of all files, sorted."""
        rows = self._table.execute("SELECT path FROM file ORDER BY path")
        return [os.fsdecode(path) for (path,) in rows]

    def size(self) -> IndexSize:
        """Return how much is indexed."""
        with closing(
            self._table.execute(
                "SELECT kind, count(*), sum(chunks), sum(lines) FROM file GROUP BY 1"
            )
        ) as rows:
            by_kind = {kind: (files, chunks, lines) for kind, files, chunks, lines in rows}
        at = self._table.execute("SELECT value FROM about WHERE name = 'updated'").fetchone()
        return IndexSize(
            files={kind: files for kind, (files, _, _) in by_kind.items()},
            chunks=sum(chunks for _, chunks, _ in by_kind.values()),
            lines=sum(lines for _, _, lines in by_kind.values()),
            bytes_on_disk=sum(f.stat().st_size for f in self._folder.rglob("*") if f.is_file()),
            updated_at_ns=int(at[0]) if at else 0,
        )


class IndexUpdate:
    """What writes to an index."""

    def __init__(self, table: sqlite3.Connection, code: _Texts, prose: _Texts) -> None:
        self._table = table
        self._texts = {True: code, False: prose}
        self._writers: dict[bool, tantivy.IndexWriter] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._gone: list[tuple[bytes]] = []
        self._stamps: list[tuple[Any, ...]] = []

    def _writer(self, is_code: bool) -> tantivy.IndexWriter:
        writer = self._writers.get(is_code)
        if writer is None:
            writer = self._writers[is_code] = self._texts[is_code].writer()
        return writer

    def _delete(self, number: int, is_code: bool) -> None:
        # By a query: `delete_documents_by_term` takes a number for a signed one, and finds nothing.
        self._writer(is_code).delete_documents_by_query(self._texts[is_code].file(number))

    def put(self, file: ReadFile, *, read_at_ns: int, is_new: bool = False) -> None:
        """Index *file* anew.

        Args:
            file: The file.
            read_at_ns: When its stat was taken, nanoseconds since 1970.
            is_new: Whether nothing of it is indexed.
        """
        stat, is_code = file.stat, file.kind in _CODE_KINDS
        number = number_of(stat.path)
        if not is_new:
            self._delete(number, is_code)
        if file.chunks:
            writer = self._writer(is_code)
            for document in _documents(file, number):
                writer.add_document(document)
        lines = file.chunks[-1].end_line if file.chunks else 0
        self._rows.append(
            (
                os.fsencode(stat.path),
                *_stamp(stat),
                read_at_ns,
                file.digest,
                file.kind,
                len(file.chunks),
                lines,
            )
        )

    def keep(self, stat: FileStat, *, read_at_ns: int) -> None:
        """Note that a file, which was touched, has the content that is indexed."""
        self._stamps.append((*_stamp(stat), read_at_ns, os.fsencode(stat.path)))

    def remove(self, path: str) -> None:
        """Take a file out of the index."""
        number = number_of(path)
        for is_code in (True, False):
            self._delete(number, is_code)
        self._gone.append((os.fsencode(path),))

    def commit(self) -> None:
        """Make everything so far searchable."""
        for is_code, writer in self._writers.items():
            writer.commit()
            self._texts[is_code].reload()
        table = self._table
        table.execute("BEGIN IMMEDIATE")
        try:
            table.executemany("DELETE FROM file WHERE path = ?", self._gone)
            table.executemany(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows
            )
            table.executemany(
                "UPDATE file SET size = ?, mtime = ?, ctime = ?, inode = ?, device = ?, seen = ?"
                " WHERE path = ?",
                self._stamps,
            )
            table.execute(
                "INSERT OR REPLACE INTO about VALUES ('updated', ?)", (str(time.time_ns()),)
            )
        except BaseException:
            table.execute("ROLLBACK")
            raise
        table.execute("COMMIT")
        self._rows, self._gone, self._stamps = [], [], []

    def roll_back(self) -> None:
        """Take back what was not committed."""
        for writer in self._writers.values():
            with suppress(ValueError):
                writer.rollback()


class _Texts:
    """One tantivy index."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True, mode=0o700)
        self._is_code = folder.name == "code"
        self._schema = _schema()
        self._index = tantivy.Index(self._schema, path=str(folder), reuse=True)
        self._index.config_reader(reload_policy="manual")
        self._searcher: tantivy.Searcher | None = None

    def writer(self) -> tantivy.IndexWriter:
        return self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)

    def reload(self) -> None:
        self._index.reload()
        self._searcher = None

    @property
    def _now(self) -> tantivy.Searcher:
        if self._searcher is None:
            self._searcher = self._index.searcher()
        return self._searcher

    def check(self) -> None:
        """Look into every file, so that one which is damaged or missing shows now.

        Raises:
            ValueError: One is.
        """
        for field in ("text", "stems", "defines", "calls"):
            self._found(tantivy.Query.term_query(self._schema, field, "?", "basic"), 1)
        self._found(self.file(0), 1)
        for one in self._found(tantivy.Query.all_query(), 1):
            self.piece(one.place[1])

    def file(self, number: int) -> tantivy.Query:
        """Return the query for the chunks of a file."""
        return tantivy.Query.term_query(self._schema, "file", number)

    def find(self, query: Query, kinds: Sequence[FileKind], limit: int) -> list[Found]:
        schema = self._schema
        should = [
            (
                tantivy.Occur.Should,
                tantivy.Query.boost_query(
                    tantivy.Query.term_query(schema, field, term, "freq"), weight
                ),
            )
            for field, weighed in (("text", query.terms), ("stems", query.stems))
            for term, weight in weighed.items()
        ]
        if not should:
            return []
        of_kind = [tantivy.Query.term_query(schema, "kind", _KINDS.index(kind)) for kind in kinds]
        one_of = tantivy.Query.boolean_query([(tantivy.Occur.Should, q) for q in of_kind])
        asked = tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Must, tantivy.Query.boolean_query(should)),
                (tantivy.Occur.Must, tantivy.Query.const_score_query(one_of, 0.0)),
            ]
        )
        return self._found(asked, limit)

    def having(self, field: str, name: str, limit: int) -> list[Found]:
        return self._found(tantivy.Query.term_query(self._schema, field, name, "basic"), limit)

    def count(self, field: str, name: str) -> int:
        return self._now.doc_freq(field, name)

    def of_file(self, file: int) -> list[Found]:
        found = self._found(self.file(file), 10_000)
        return sorted(found, key=lambda one: (one.start_line, one.end_line))

    def rarity(self, stems: Sequence[str]) -> dict[str, float]:
        total = self._now.num_docs
        counts = {stem: self._now.doc_freq("stems", stem) for stem in stems}
        return {s: math.log(1 + (total - n + 0.5) / (n + 0.5)) for s, n in counts.items()}

    def unknown(self, stems: Sequence[str]) -> frozenset[str]:
        return frozenset(stem for stem in stems if not self._now.doc_freq("stems", stem))

    def piece(self, address: Any) -> Piece:
        stored: Any = self._now.doc(address).get_first("piece")
        return _PIECE.decode(bytes(stored))

    def everything(self) -> Iterator[tuple[Found, Piece]]:
        total = self._now.num_docs
        for found in self._found(tantivy.Query.all_query(), total) if total else ():
            yield found, self.piece(found.place[1])

    def _found(self, query: tantivy.Query, limit: int) -> list[Found]:
        searcher = self._now
        hits = searcher.search(query, limit=limit, count=False).hits
        if not hits:
            return []
        addresses = [address for _, address in hits]
        columns = [
            searcher.fast_field_values(name, addresses) for name in ("file", "start", "end", "kind")
        ]
        return [
            Found(score, file, start, end, _KINDS[kind], (self._is_code, address))
            for (score, address), file, start, end, kind in zip(hits, *columns, strict=True)
        ]


_PIECE = msgspec.json.Decoder(Piece)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    for name in ("text", "stems"):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="freq")
    for name in ("defines", "calls"):
        builder.add_text_field(name, tokenizer_name="whitespace", index_option="basic")
    builder.add_unsigned_field("file", indexed=True, fast=True)
    builder.add_unsigned_field("kind", indexed=True, fast=True)
    builder.add_unsigned_field("start", fast=True)
    builder.add_unsigned_field("end", fast=True)
    builder.add_bytes_field("piece", stored=True)
    return builder.build()


def _documents(file: ReadFile, number: int) -> Iterator[tantivy.Document]:
    """Yield what is indexed of each chunk of *file*."""
    path = file.stat.path
    stem = path.rpartition("/")[2].partition(".")[0]
    about_file = (
        f"{path.rpartition('.')[0] or path} " * _NAMES_OF_PATH + f"{stem} " * _NAMES_OF_FILE
    )
    of_path = joined_terms(about_file)
    kind = _KINDS.index(file.kind)
    calls = _calls_by_line(file.facts)
    for chunk in file.chunks:
        text = file.content[chunk.span.start : chunk.span.end].decode("utf-8", "replace")
        names = [name.rpartition(".")[2] for name in chunk.symbols]
        about = " ".join([*names * _OF_SYMBOLS, chunk.scope])
        terms, stems = joined_terms(f"{text}\n{about}")
        document = tantivy.Document()
        document.add_text("text", f"{terms} {of_path[0]}")
        document.add_text("stems", f"{stems} {of_path[1]}")
        if names:
            document.add_text("defines", " ".join(names))
        called = [
            name
            for line in range(chunk.start_line, chunk.end_line + 1)
            for name in calls.get(line, ())
        ]
        if called:
            document.add_text("calls", " ".join(called))
        document.add_unsigned("file", number)
        document.add_unsigned("kind", kind)
        document.add_unsigned("start", chunk.start_line)
        document.add_unsigned("end", chunk.end_line)
        piece = Piece(_printable(path), chunk.scope, chunk.symbols, chunk.heads, chunk.signature)
        document.add_bytes("piece", msgspec.json.encode(piece))
        yield document


def _calls_by_line(facts: FileFacts | None) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for call in facts.calls if facts is not None else ():
        name = call.callee.replace("::", ".").replace("->", ".").rpartition(".")[2]
        if name.isidentifier():
            found.setdefault(call.line, []).append(name)
    return found


def number_of(path: str) -> int:
    """Return the number under which the file *path* is indexed: its own in every process."""
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _printable(path: str) -> str:
    return path.encode("utf-8", "replace").decode()


def _stamp(file: FileStat) -> tuple[int, ...]:
    return (file.size, file.mtime_ns, file.ctime_ns, file.inode, file.device)


def _is_panic(error: BaseException) -> bool:
    """Return whether *error* is how a fault inside tantivy shows, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


def _locked(descriptor: int, patience: float) -> bool:
    """Return whether the lock was had within *patience* seconds."""
    ends_at = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= ends_at:
                return False
            time.sleep(_LOCK_SECONDS)
        else:
            return True
