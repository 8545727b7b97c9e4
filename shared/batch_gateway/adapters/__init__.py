"""Adapters: the ports on real servers, unaware of each other; only ``wiring`` names them."""
