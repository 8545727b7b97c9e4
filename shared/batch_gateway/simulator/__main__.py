"""``python -m batch_gateway.simulator``: the same as ``batch-gateway simulate``."""

import typer

from batch_gateway.simulator.command import simulate

typer.run(simulate)
