"""Builds the notifier."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from batch_gateway import traces
from batch_gateway.core.errors import BatchGatewayError
from batch_gateway.core.ids import BatchId
from batch_gateway.wiring.function import Function, Handler, event_function
from batch_gateway.wiring.runtime import FunctionRuntime
from batch_gateway.wiring.stores import LazyWebhookClient, open_sealer

logger = logging.getLogger(__name__)

#: Well below the time-out of the notifier's Service: what is left over then is due again later.
_BUDGET = timedelta(minutes=4)


def notifier_function() -> Function:
    def use_case(runtime: FunctionRuntime, stack: AsyncExitStack) -> Handler:
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
            trace_of=_traces_of(runtime) if traces.enabled() else None,
        )
        return lambda _event: notifier.deliver()

    return event_function("notifier", use_case)


def _traces_of(runtime: FunctionRuntime) -> Callable[[BatchId], Awaitable[str | None]]:
    """Looks up the trace context of a batch; None: it is deleted, or the store does not answer."""

    async def trace_of(name: BatchId) -> str | None:
        try:
            batch = await runtime.metadata.batches.load(name)
        except BatchGatewayError as error:
            logger.debug("The trace of %s is not known: %s", name, error, extra={"action": "trace"})
            return None
        return None if batch is None else batch.traceparent

    return trace_of
