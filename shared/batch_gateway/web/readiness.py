"""Readiness of a function, cached and without flapping.

A function begins unready and stays so until everything that it needs has answered once, the schema
of the database among it; before that it handles no request. From then on an outage must last for a
while before the function takes itself out of service: if every pod left at the first failed ping, a
blink of Redis would be an outage of everything, and nothing here gets better by it. The other way
round there is no waiting: a function whose stores answer again is ready at once.

It restarts no pod: that is the job of the liveness probe, which checks none of this.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from batch_gateway.core.errors import BatchGatewayError, Unavailable
from batch_gateway.settings.probes import ProbeSettings
from batch_gateway.web.probes import Ready, is_probe

logger = logging.getLogger(__name__)

#: The answer to a request that comes before a function is ready.
Refusal = Callable[[BatchGatewayError], Response]

_FRESH_S = 1.0  # how long a good answer holds: probes must not become a load of their own
_RETRY_S = 0.1  # and a bad one, while a request waits for the start
_PATIENCE_S = 5.0  # at the start, when connections are made and pools filled
#: Afterwards. Below the second after which Kubernetes gives a probe up: what it does not hear it
#: cannot weigh.
_BRIEF_PATIENCE_S = 0.5


class ReadinessCheck:
    """``check`` raises an error whose message names what does not answer; so does calling this."""

    def __init__(
        self, check: Ready, rules: ProbeSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._tolerance_s = rules.tolerance_s
        self._clock = clock
        self._checking = asyncio.Lock()
        self._passed = False
        self._asked_at: float | None = None  # None: not yet
        self._failure: BatchGatewayError | None = None  # what the last answer was
        self._failing_since = 0.0

    async def __call__(self) -> None:
        async with self._checking:
            if not self._is_fresh():
                await self._ask()
        if self._failure is not None and not self._is_tolerable():
            raise self._failure

    def gate(self, app: ASGIApp, refusal: Refusal) -> ASGIApp:
        """``app``, which gets no request but probes before all was well once.

        ``refusal`` answers the others until then.
        """

        async def gated(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._passed and scope["type"] == "http" and not is_probe(scope):
                try:
                    await self()
                except BatchGatewayError as error:
                    await refusal(error)(scope, receive, send)
                    return
            await app(scope, receive, send)

        return gated

    def _is_fresh(self) -> bool:
        if self._asked_at is None:
            return False
        return self._clock() - self._asked_at < (_RETRY_S if self._failure else _FRESH_S)

    async def _ask(self) -> None:
        patience_s = _BRIEF_PATIENCE_S if self._passed else _PATIENCE_S
        failure: BatchGatewayError | None = None
        try:
            async with asyncio.timeout(patience_s):
                await self._check()
        except BatchGatewayError as error:
            failure = error
        except TimeoutError:
            failure = Unavailable(f"a dependency has not answered for {patience_s:g} s")
        self._asked_at = self._clock()
        if failure is None:
            self._passed = True
        elif self._failure is None:
            self._failing_since = self._asked_at
            logger.warning("A store is unavailable: %s", failure, extra={"action": "failing"})
        self._failure = failure

    def _is_tolerable(self) -> bool:
        return self._passed and self._clock() - self._failing_since < self._tolerance_s
