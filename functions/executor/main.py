"""Executor: works on shards while its request is open.

Receives ``work.available``, which carries no work: shards are leased by priority from the queue.
"""

import functions_framework.aio

from batch_gateway.wiring.executor import executor_function

executor = functions_framework.aio.http(executor_function())
