"""Notifier: delivers webhooks to those who want to hear of their batches.

Hears ``webhook.due``, which carries nothing: what is to be delivered is in the database. It is sent
when a batch has ended that somebody wants to hear of, and by the janitor when a failed delivery's
next attempt has come.
"""

import functions_framework.aio

from batch_gateway.wiring.notifier import notifier_function

notifier = functions_framework.aio.http(notifier_function())
