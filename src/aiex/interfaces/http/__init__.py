"""The HTTP door: the wires that model clients speak, and Aiex's own API."""
