"""What a project depends on, by its manifests and lock files: bytes in, values out."""

from aiex.code.manifests.files import (
    FileKind,
    kind_of,
    unread_kind,
)
from aiex.code.manifests.names import (
    is_package_name,
)
from aiex.code.manifests.python import (
    read_requirements,
)
from aiex.code.manifests.values import (
    Declared,
    Ecosystem,
    Include,
    Locked,
    Manifest,
    Note,
)
from aiex.code.manifests.versions import (
    allows,
    is_behind,
    is_major_step,
    newest,
)

__all__ = [
    "Declared",
    "Ecosystem",
    "FileKind",
    "Include",
    "Locked",
    "Manifest",
    "Note",
    "allows",
    "is_behind",
    "is_major_step",
    "is_package_name",
    "kind_of",
    "newest",
    "read_requirements",
    "unread_kind",
]
