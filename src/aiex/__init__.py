"""Aiex: a distributed AI coding assistant that a team hosts itself."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
