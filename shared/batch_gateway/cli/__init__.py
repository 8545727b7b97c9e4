"""The ``batch-gateway`` command, one module per command group."""
