"""A keeper: a small process that runs one command after another and ends what each leaves behind.

It is run by itself, isolated and without `site`, as the package `keeper`, and imports nothing of
ours besides: what is here has to start fast, and to be small, since it is forked for each command.
"""

from .kernel import ABSTRACT_UNIX_SCOPE, SIGNAL_SCOPE, landlock_abi
from .serving import main

__all__ = ["ABSTRACT_UNIX_SCOPE", "SIGNAL_SCOPE", "landlock_abi", "main"]
