"""The verbs people ask for, and the prompts they render."""
