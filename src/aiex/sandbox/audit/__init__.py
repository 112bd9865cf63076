"""The audit log: what was done to a user's files and what ran, chained so that damage shows."""
