"""Pure functions over source text: bytes in, values out."""
