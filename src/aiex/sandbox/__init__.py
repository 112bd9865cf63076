"""The only room that touches a user's files and runs a command on a user's project."""

from aiex.sandbox.audit.checkpoint import (
    Anchor,
    FileAnchor,
)
from aiex.sandbox.audit.log import (
    AuditLog,
)
from aiex.sandbox.audit.ocsf import (
    ocsf_event,
)
from aiex.sandbox.audit.search import (
    last_records,
    matching_lines,
)
from aiex.sandbox.audit.verify import (
    verify_log,
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
    "Anchor",
    "Applied",
    "AuditLog",
    "ChangeJournal",
    "Churn",
    "Command",
    "CommandResult",
    "FileAnchor",
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
    "last_records",
    "matching_lines",
    "ocsf_event",
    "printable",
    "protected_by",
    "run_command",
    "split_path",
    "verify_log",
    "walk",
]
