"""Activations on Redis: two sorted sets by expiry, one of those running, one of those invited.

What has run out is dropped before anything is counted, so a dead activation or a lost wake-up
frees its place by itself. A dead activation is remembered in a third set, until another one has
taken over what it has left.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from redis.asyncio import Redis

from batch_gateway.adapters.redis_coordination.keys import CoordinationKeys
from batch_gateway.adapters.redis_coordination.server import (
    CoordinationScripts,
    milliseconds,
    translated,
)
from batch_gateway.core.ids import ActivationId


class RedisActivations:
    def __init__(
        self, client: "Redis", scripts: CoordinationScripts, keys: CoordinationKeys
    ) -> None:
        self._client = client
        self._running = keys.running
        self._dead = keys.dead
        self._serving = keys.serving
        self._keys = [keys.running, keys.pending, keys.dead]
        self._enter = scripts.load("activations", "activations_enter")
        self._renew = scripts.load("activations", "activations_renew")
        self._leave_unless_last = scripts.load("activations", "activations_leave_unless_last")
        self._invite = scripts.load("activations", "activations_invite")
        self._count = scripts.load("activations", "activations_count")
        self._serve = scripts.load("activations_serve")
        self._challenge = scripts.load("activations", "activations_challenge")
        self._challenged = scripts.load("activations", "activations_challenged")

    async def enter(self, activation: ActivationId, *, maximum: int, ttl: timedelta) -> bool:
        return bool(await self._enter(self._keys, [activation, maximum, milliseconds(ttl)]))

    async def renew(
        self, activation: ActivationId, ttl: timedelta, *, silence: timedelta
    ) -> Sequence[ActivationId]:
        dead = await self._renew(self._keys, [activation, milliseconds(ttl), milliseconds(silence)])
        return [ActivationId(name) for name in dead]

    async def serve(
        self, request: str, activation: ActivationId, remembered: timedelta
    ) -> Sequence[ActivationId]:
        key = f"{self._serving}:{request}"
        before = await self._serve([key], [activation, milliseconds(remembered)])
        return [ActivationId(name) for name in sorted(before) if name != activation]

    async def challenge(
        self, activations: Sequence[ActivationId], ttl: timedelta, *, missed: timedelta
    ) -> None:
        if activations:
            await self._challenge(
                self._keys, [milliseconds(ttl), milliseconds(missed), *activations]
            )

    async def challenged(
        self, activations: Sequence[ActivationId], ttl: timedelta
    ) -> Sequence[bool | None]:
        if not activations:
            return []
        found = await self._challenged(self._keys, [milliseconds(ttl), *activations])
        return [None if state < 0 else bool(state) for state in found]

    async def forget(self, activation: ActivationId) -> None:
        async with translated():
            await self._client.zrem(self._dead, activation)

    async def leave(self, activation: ActivationId) -> None:
        async with translated():
            await self._client.zrem(self._running, activation)

    async def leave_unless_last(self, activation: ActivationId) -> bool:
        return bool(await self._leave_unless_last(self._keys, [activation]))

    async def invite(self, *, maximum: int, ttl: timedelta) -> bool:
        name = secrets.token_hex(8)
        return bool(await self._invite(self._keys, [name, maximum, milliseconds(ttl)]))

    async def count(self) -> tuple[int, int]:
        running, pending = await self._count(self._keys)
        return running, pending
