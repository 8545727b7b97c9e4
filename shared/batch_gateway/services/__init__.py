"""Use cases, one module each. All I/O goes through ports."""
