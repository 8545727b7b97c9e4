"""Intake: creates batches from events of other systems.

Receives ``batch.requested``, and what object stores tell of new objects; the same event makes one
batch, however often it comes.
"""

import functions_framework.aio

from batch_gateway.wiring.intake import intake_function

intake = functions_framework.aio.http(intake_function())
