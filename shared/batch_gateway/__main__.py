"""``python -m batch_gateway``: the same as the ``batch-gateway`` command."""

from batch_gateway.cli.main import run

run()
