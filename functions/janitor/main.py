"""Janitor: repairs the effects of crashes and lost events.

Hears ``upkeep.due`` when work is made, and goes round each minute until there is none. A PingSource
calls it every ten minutes in any case; a sweep is harmless and safe to run twice at once.
"""

import functions_framework.aio

from batch_gateway.wiring.janitor import janitor_function

janitor = functions_framework.aio.http(janitor_function())
