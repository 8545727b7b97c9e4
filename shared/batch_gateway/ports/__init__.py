"""Protocols of all stores and devices that the services use.

The contract of a port (atomicity, order, units, errors raised) stands in its docstring and
nowhere else. One contract suite per port runs over all its plug-ins (``tests/contracts``).
"""
