"""`chat`: what is said in a session, answered with tools that only read."""
