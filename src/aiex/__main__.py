"""`python -m aiex`."""

from aiex.interfaces.cli.front import main

main()
