"""Being many: the Protocols of store, leases, queue and log, and the backends that satisfy them."""
