"""Fakes and harnesses, shipped for ourselves and for the authors of plugins."""
