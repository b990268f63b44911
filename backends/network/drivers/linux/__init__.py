"""Networks in this machine's kernel: one routed namespace per network, no bridges (see `driver`)."""
