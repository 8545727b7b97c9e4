"""``batch-gateway simulate``: a model server without a GPU."""

from batch_gateway.simulator.command import simulate

__all__ = ["simulate"]
