"""Sphinx configuration; the reference pages are generated from the program itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generate import ROOMS, write_reference

from aiex import __version__

project = "Aiex"
copyright = "the authors of Aiex"
author = "the authors of Aiex"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
html_theme = "furo"
html_title = f"Aiex {__version__}"
exclude_patterns = ["_build", "commands"]  # the latter end the generated pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_use_ivar = True
doctest_global_setup = "\n".join(f"from aiex.{room} import *" for room in ROOMS)
doctest_global_setup += "\nfrom aiex.testing.scripted import *\nfrom datetime import UTC, datetime"
default_role = "code"


def setup(app):
    """Write the generated pages before anything is read."""
    write_reference(Path(app.srcdir) / "reference")
