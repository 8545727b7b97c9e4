"""Builds the notifier."""

from contextlib import AsyncExitStack
from datetime import timedelta

from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import Runtime
from batch_gateway.wiring.stores import LazyWebhookClient, open_sealer

#: Well below the time-out of the notifier's Service: what is left over then is due again later.
_BUDGET = timedelta(minutes=4)


def notifier_function() -> Function:
    def use_case(runtime: Runtime, stack: AsyncExitStack) -> Handler:
        from batch_gateway.services.webhooks.notifier import Notifier

        client = LazyWebhookClient(runtime.settings.webhooks)
        stack.push_async_callback(client.close)
        notifier = Notifier(
            webhooks=runtime.metadata.webhooks,
            client=client,
            sealer=open_sealer(runtime.settings),
            clock=runtime.clock,
            backoff=runtime.settings.webhooks.backoff,
            attempt=timedelta(seconds=runtime.settings.webhooks.timeout_s),
            budget=_BUDGET,
        )
        return lambda _event: notifier.deliver()

    return event_function("notifier", use_case)
