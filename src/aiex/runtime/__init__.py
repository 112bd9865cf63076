"""Staying alive, knowing no domain: supervisor, processes, clock."""
