"""Assembler: merges a batch's results into its output and error file.

Receives ``batch.executed``, ``batch.cancelling`` and ``batch.expiring``; begins when no shard is
open any more.
"""

import functions_framework.aio

from batch_gateway.wiring.assembler import assembler_function

assembler = functions_framework.aio.http(assembler_function())
