"""One door for every interface: admit, run, stream, attach, replay, cancel."""

from aiex.gateway.ports import Gateway

__all__ = ["Gateway"]
