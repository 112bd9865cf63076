"""The only room that touches a user's files and runs a command on a user's project."""
