"""Janitor: repairs what crashes and lost events have left behind.

Ticked every minute by a PingSource; a sweep is harmless and safe to run twice at once.
"""

import functions_framework.aio

from batch_gateway.wiring.janitor import janitor_function

janitor = functions_framework.aio.http(janitor_function())
