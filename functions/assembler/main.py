"""Assembler: merges a batch's results into its output and error file.

Hears ``batch.executed``, ``batch.cancelling`` and ``batch.expiring``; begins when no shard is
open any more.
"""

from batch_gateway.wiring.assembler import assembler_function

assembler = assembler_function()
