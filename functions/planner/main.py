"""Planner: validates one batch and divides it into shards.

Receives ``batch.created``; a redelivered event plans again to the same shards, or announces again
what has become of the batch.
"""

import functions_framework.aio

from batch_gateway.wiring.planner import planner_function

planner = functions_framework.aio.http(planner_function())
