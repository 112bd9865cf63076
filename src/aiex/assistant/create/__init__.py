"""`create`: a new module as a proposal, a new project as files."""
