"""`python -m aiex`, which imports nothing from the folder that it is called in."""

import sys

# `-m` puts that folder first, and then a project's own `json.py` would run in the place of ours.
if not sys.flags.safe_path:
    del sys.path[0]

from aiex.interfaces.cli.front import main

main()
