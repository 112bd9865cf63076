"""Secrets that stand in files: what the system mounts or hands over, and one of our own, sealed.

systemd hands credentials over in the folder `$CREDENTIALS_DIRECTORY` (systemd.exec(5),
"Credentials"); Kubernetes and Docker mount a secret as a file, whose place is told by a variable
that ends in `_FILE`. Our own file is sealed with ChaCha20-Poly1305 under a key that scrypt makes of
a passphrase; which providers it has keys of stands in the clear, so that one can see that it has
one without the passphrase. (Read 2026-11-25.)
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from aiex.core import ConfigurationError

__all__ = ["SealedFile", "given_file", "read_given"]

_MOST_BYTES = 64 * 1024
# OWASP's cheat sheet "Password Storage" (2026-11): 32 MiB and three rounds, about 0.2 s.
_SCRYPT = (1 << 15, 8, 3)
_MOST_MEMORY = 1 << 28


def given_file(variable: str, env: Mapping[str, str]) -> tuple[Path, str] | None:
    """Return the file that is to hold the value of *variable*, and what it is; `None` if none.

    A credential is told by its being there, which is looked up here; a file that a variable names
    counts whether or not it is there.
    """
    folder = env.get("CREDENTIALS_DIRECTORY")
    for name in (variable, f"aiex.{variable.lower()}") if folder else ():
        path = Path(str(folder)) / name
        if os.path.lexists(path):
            return path, f"the credential {name}"
    named = env.get(f"{variable}_FILE", "").strip()
    return (Path(named), f"the file that {variable}_FILE names") if named else None


def read_given(path: Path, what: str, env: Mapping[str, str]) -> str:
    """Return the secret in a file that the system mounted or handed over. Blocks.

    Raises:
        ConfigurationError: It is absent, empty, not ours, or others can read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise ConfigurationError(
            f"{what} cannot be read: {path}: {error.strerror}",
            hint="put the key there, readable by you alone, or take the variable away",
        ) from error
    try:
        _check(path, what, handle, in_credentials=_is_credential(path, env))
        raw = _content(handle)
    finally:
        os.close(handle)
    secret = raw[:_MOST_BYTES].decode("utf-8", "replace").strip()
    if not secret or len(raw) > _MOST_BYTES:
        wrong = "is empty" if not secret else f"is larger than {_MOST_BYTES} bytes"
        raise ConfigurationError(f"{what} {wrong}: {path}", hint="put the key there, alone")
    return secret


def _content(handle: int) -> bytes:
    with os.fdopen(handle, "rb", closefd=False) as file:
        return file.read(_MOST_BYTES + 1)


def _is_credential(path: Path, env: Mapping[str, str]) -> bool:
    folder = env.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and path.parent == Path(str(folder))


def _check(path: Path, what: str, handle: int, *, in_credentials: bool) -> None:
    """Refuse a file that is none, or that somebody else could have written or can read.

    A mounted secret may be readable by everyone in its container: Kubernetes makes it so, on a
    read-only file system, where nobody could have made it but who set the container up.
    """
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{what} is no regular file: {path}", hint="name a file")
    if found.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError(
            f"{what} belongs to another user: {path}", hint=f"chown it to yourself: {path}"
        )
    is_mounted = bool(os.fstatvfs(handle).f_flag & os.ST_RDONLY)
    if found.st_mode & 0o007 and not in_credentials and not is_mounted:
        raise ConfigurationError(
            f"{what} can be read by every user of this machine: {path}", hint=f"chmod 600 {path}"
        )


class _Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the file; the head is authenticated with the rest.

    Attributes:
        v: Version of the format.
        providers: Whose keys it has, sorted.
        n: Cost of scrypt.
        r: Size of scrypt's blocks.
        p: Rounds of scrypt.
        salt: Of scrypt.
        nonce: Of the cipher.
        sealed: Keys by provider, as JSON, sealed.
    """

    v: int = 1
    providers: tuple[str, ...]
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes
    sealed: bytes

    def head(self) -> bytes:
        """Return what is authenticated, but not secret."""
        bare = msgspec.structs.replace(self, sealed=b"")
        return msgspec.json.encode(bare)


class SealedFile:
    """Keys of providers in a file that only the passphrase opens; 0600. Every method blocks.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def providers(self) -> tuple[str, ...]:
        """Return whose keys it has; none where it is absent.

        Raises:
            ConfigurationError: It cannot be read, or is none of ours.
        """
        found = self._read()
        return () if found is None else found.providers

    def keys(self, passphrase: str) -> dict[str, str]:
        """Return the keys by provider.

        Raises:
            ConfigurationError: The passphrase is wrong, or the file was changed.
        """
        found = self._read()
        if found is None:
            return {}
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        cipher = ChaCha20Poly1305(_stretched(passphrase, found))
        try:
            opened = cipher.decrypt(found.nonce, found.sealed, found.head())
        except InvalidTag:
            raise ConfigurationError(
                f"the passphrase does not open {self.path}, or the file was changed",
                hint="check AIEX_PASSPHRASE; if it is lost, delete the file and set the keys anew",
            ) from None
        return msgspec.json.decode(opened, type=dict[str, str])

    def write(self, keys: Mapping[str, str], passphrase: str) -> None:
        """Let the file hold *keys* and no others; without any it is removed.

        Raises:
            ConfigurationError: It cannot be written.
        """
        try:
            if not keys:
                self.path.unlink(missing_ok=True)
                return
            self._replace(_sealed(keys, passphrase))
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}") from error

    def _replace(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".keys-")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self) -> _Sealed | None:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise ConfigurationError(f"{self.path} is no regular file of yours")
            if found.st_mode & 0o077:
                raise ConfigurationError(
                    f"{self.path} can be read by others", hint=f"chmod 600 {self.path}"
                )
            raw = _content(handle)
        finally:
            os.close(handle)
        try:
            sealed = msgspec.json.decode(raw, type=_Sealed)
        except msgspec.DecodeError as error:
            raise _damaged(self.path) from error
        if sealed.v != 1 or 128 * sealed.n * sealed.r > _MOST_MEMORY or not 0 < sealed.p <= 16:
            raise _damaged(self.path)
        return sealed


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is no key file of Aiex", hint="delete it, and set the keys anew"
    )


def _sealed(keys: Mapping[str, str], passphrase: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    n, r, p = _SCRYPT
    bare = _Sealed(
        providers=tuple(sorted(keys)),
        n=n,
        r=r,
        p=p,
        salt=os.urandom(16),
        nonce=os.urandom(12),
        sealed=b"",
    )
    cipher = ChaCha20Poly1305(_stretched(passphrase, bare))
    sealed = cipher.encrypt(bare.nonce, msgspec.json.encode(dict(keys)), bare.head())
    return msgspec.json.encode(msgspec.structs.replace(bare, sealed=sealed))


def _stretched(passphrase: str, found: _Sealed) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    try:
        scrypt = Scrypt(salt=found.salt, length=32, n=found.n, r=found.r, p=found.p)
        return scrypt.derive(passphrase.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise ConfigurationError("the key file asks for what scrypt does not do") from error
