"""Talking to models: adapters, coordinator, strategies, pricing."""
