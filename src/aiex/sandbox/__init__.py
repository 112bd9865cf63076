"""The only room that touches a user's files and runs a command on a user's project."""

from aiex.sandbox.audit import (
    Actor,
    AuditLog,
    AuditRecord,
)
from aiex.sandbox.command import (
    LEVELS,
    Command,
    CommandPolicy,
    CommandResult,
    Level,
)
from aiex.sandbox.escapes import (
    ESCAPES,
    Attempt,
)
from aiex.sandbox.files import (
    FileContent,
    FilePolicy,
    Files,
)
from aiex.sandbox.git import (
    Churn,
    Git,
    Repository,
)
from aiex.sandbox.isolate import (
    Isolation,
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
from aiex.sandbox.levels import Probe
from aiex.sandbox.paths import (
    Access,
    printable,
    protected_by,
    split_path,
)
from aiex.sandbox.walk import (
    Scan,
    ScanEntry,
    walk,
)

__all__ = [
    "ESCAPES",
    "LEVELS",
    "Access",
    "Actor",
    "Applied",
    "Attempt",
    "AuditLog",
    "AuditRecord",
    "ChangeJournal",
    "Churn",
    "Command",
    "CommandPolicy",
    "CommandResult",
    "FileContent",
    "FilePolicy",
    "Files",
    "Git",
    "Isolation",
    "IsolationStatus",
    "Level",
    "Probe",
    "Recovered",
    "Repository",
    "Scan",
    "ScanEntry",
    "Target",
    "isolation_status",
    "printable",
    "protected_by",
    "run_command",
    "split_path",
    "walk",
]
