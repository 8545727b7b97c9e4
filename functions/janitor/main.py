"""Janitor: repairs the effects of crashes and lost events.

Receives ``upkeep.due`` when work is created, then sweeps each minute until there is none. A
PingSource calls it every ten minutes in any case. Two sweeps may run at the same time.
"""

import functions_framework.aio

from batch_gateway.wiring.janitor import janitor_function

janitor = functions_framework.aio.http(janitor_function())
