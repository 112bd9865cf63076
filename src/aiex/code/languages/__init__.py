"""What the nodes of each grammar mean: one module a family of languages."""
