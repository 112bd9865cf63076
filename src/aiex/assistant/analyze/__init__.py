"""The verb `analyze`."""
