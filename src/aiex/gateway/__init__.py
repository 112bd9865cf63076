"""One door for every interface: admit, run, stream, attach, replay, cancel."""

from aiex.gateway.ports import Gateway, Operations, Registration, RequestState

__all__ = ["Gateway", "Operations", "Registration", "RequestState"]
