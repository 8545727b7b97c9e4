"""Janitor: repairs what crashes and lost events have left behind.

Ticked every minute by a PingSource; a sweep is harmless and safe to run twice at once.
"""

from batch_gateway.wiring.janitor import janitor_function

janitor = janitor_function()
