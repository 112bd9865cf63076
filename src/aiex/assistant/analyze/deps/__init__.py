"""`analyze deps`: what a project depends on, what is newer, and what is known against it."""
