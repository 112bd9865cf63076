"""Pure codecs between wire bytes and core types, both ways."""
