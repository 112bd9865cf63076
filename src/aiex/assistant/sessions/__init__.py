"""Sessions as they are asked for: who may do what, here and on a node."""
