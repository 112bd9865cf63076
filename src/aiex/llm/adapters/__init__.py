"""One provider each: our types to its wire and back."""
