"""One door for every interface: admit, run, stream, attach, replay, cancel."""
