"""Executor: works on shards while its request is open.

Hears ``work.available``, which carries no work: shards are leased by priority from the queue.
"""

from batch_gateway.wiring.executor import executor_function

executor = executor_function()
