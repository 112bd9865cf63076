"""The composition root: settings once, backends by name, opened in order."""
