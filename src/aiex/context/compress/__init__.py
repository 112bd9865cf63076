"""Fitting what a model should see into what its window holds, by counted tokens.

`items` chooses among forms of what is shown, `forms` makes shorter forms of code, `conversation`
shortens what was said, in the `chunks` that are summarised, and `excerpts` cuts a text.
"""
