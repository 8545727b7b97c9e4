"""Notifier: delivers webhooks to the endpoints that subscribe to them.

Receives ``webhook.due``, which has no data: the deliveries are in the database. It is sent
when a batch has ended that a webhook endpoint subscribes to, and by the janitor when the next
attempt of a failed delivery is due.
"""

import functions_framework.aio

from batch_gateway.wiring.notifier import notifier_function

notifier = functions_framework.aio.http(notifier_function())
