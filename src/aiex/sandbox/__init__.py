"""The only room that touches a user's files and runs a command on a user's project."""

from aiex.sandbox.audit import (
    Actor,
    AuditLog,
    AuditRecord,
)
from aiex.sandbox.files import (
    Files,
    Written,
)
from aiex.sandbox.git import (
    Churn,
    Git,
    Repository,
)
from aiex.sandbox.isolate import (
    Command,
    CommandResult,
    IsolationStatus,
    isolation_status,
    run_command,
)
from aiex.sandbox.journal import (
    Applied,
    ChangeJournal,
    Recovered,
    Target,
)
from aiex.sandbox.lines import (
    FileLines,
)
from aiex.sandbox.paths import (
    Access,
    printable,
    protected_by,
    split_path,
)
from aiex.sandbox.roots import (
    FileContent,
    FilePolicy,
)
from aiex.sandbox.walk import (
    Listing,
    Scan,
    ScanEntry,
    walk,
)

__all__ = [
    "Access",
    "Actor",
    "Applied",
    "AuditLog",
    "AuditRecord",
    "ChangeJournal",
    "Churn",
    "Command",
    "CommandResult",
    "FileContent",
    "FileLines",
    "FilePolicy",
    "Files",
    "Git",
    "IsolationStatus",
    "Listing",
    "Recovered",
    "Repository",
    "Scan",
    "ScanEntry",
    "Target",
    "Written",
    "isolation_status",
    "printable",
    "protected_by",
    "run_command",
    "split_path",
    "walk",
]
