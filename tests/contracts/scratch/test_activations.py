"""The register of activations: never more than the maximum, never none while one would stay."""

import asyncio
from datetime import timedelta

import pytest
from fixtures.scratch import MINUTE, NO_TIME

from batch_gateway.adapters.redis_coordination import RedisCoordinationStore
from batch_gateway.core.ids import ActivationId

pytestmark = pytest.mark.redis

BRIEF = timedelta(seconds=0.3)
A, B = ActivationId("a"), ActivationId("b")


async def test_no_more_than_the_maximum_enter_at_once(coordination: RedisCoordinationStore) -> None:
    names = [ActivationId(f"a{n}") for n in range(12)]

    entered = await asyncio.gather(
        *(coordination.activations.enter(name, maximum=5, ttl=MINUTE) for name in names)
    )

    assert sum(entered) == 5
    assert await coordination.activations.count() == (5, 0)


async def test_running_and_invited_together_never_exceed_the_maximum(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.activations.enter(A, maximum=3, ttl=MINUTE)

    invited = await asyncio.gather(
        *(coordination.activations.invite(maximum=3, ttl=MINUTE) for _ in range(9))
    )

    assert sum(invited) == 2
    assert await coordination.activations.count() == (1, 2)


async def test_entering_uses_up_a_pending_wake_up(coordination: RedisCoordinationStore) -> None:
    await coordination.activations.invite(maximum=1, ttl=MINUTE)

    assert await coordination.activations.enter(A, maximum=1, ttl=MINUTE)
    assert await coordination.activations.count() == (1, 0)


async def test_entering_again_keeps_the_place(coordination: RedisCoordinationStore) -> None:
    await coordination.activations.enter(A, maximum=1, ttl=MINUTE)
    assert not await coordination.activations.enter(B, maximum=1, ttl=MINUTE)

    assert await coordination.activations.enter(A, maximum=1, ttl=MINUTE)
    assert await coordination.activations.count() == (1, 0)


async def test_who_has_gone_silent_is_no_longer_counted(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.activations.enter(A, maximum=1, ttl=NO_TIME)
    await coordination.activations.invite(maximum=2, ttl=NO_TIME)

    assert await coordination.activations.count() == (0, 0)
    assert await coordination.activations.enter(B, maximum=1, ttl=MINUTE)


async def test_a_heartbeat_keeps_or_restores_the_place(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.activations.enter(A, maximum=1, ttl=NO_TIME)

    await coordination.activations.renew(A, MINUTE, silence=MINUTE)

    assert await coordination.activations.count() == (1, 0)


async def test_leaving_makes_room(coordination: RedisCoordinationStore) -> None:
    await coordination.activations.enter(A, maximum=1, ttl=MINUTE)

    await coordination.activations.leave(A)

    assert await coordination.activations.invite(maximum=1, ttl=MINUTE)


async def test_of_several_that_want_to_leave_exactly_one_stays(
    coordination: RedisCoordinationStore,
) -> None:
    names = [ActivationId(f"a{n}") for n in range(6)]
    for name in names:
        await coordination.activations.enter(name, maximum=6, ttl=MINUTE)

    left = await asyncio.gather(*map(coordination.activations.leave_unless_last, names))

    assert sum(left) == 5
    assert await coordination.activations.count() == (1, 0)


async def test_a_dead_activation_does_not_let_the_last_one_go(
    coordination: RedisCoordinationStore,
) -> None:
    await coordination.activations.enter(A, maximum=2, ttl=MINUTE)
    await coordination.activations.enter(B, maximum=2, ttl=NO_TIME)

    assert not await coordination.activations.leave_unless_last(A)


# -- dead activations ------------------------------------------------------------------------------


async def test_silent_activations_are_dead_until_they_renew_or_are_forgotten(
    coordination: RedisCoordinationStore,
) -> None:
    register = coordination.activations
    for name in (A, B):
        await register.enter(name, maximum=3, ttl=NO_TIME)
    await register.count()
    me = ActivationId("me")
    assert await register.renew(me, MINUTE, silence=MINUTE) == []  # not silent for so long

    assert sorted(await register.renew(me, MINUTE, silence=NO_TIME)) == [A, B]
    await register.renew(A, MINUTE, silence=MINUTE)
    assert await register.renew(me, MINUTE, silence=NO_TIME) == [B]
    await register.forget(B)
    assert await register.renew(me, MINUTE, silence=NO_TIME) == []


async def test_activations_that_leave_are_not_dead(coordination: RedisCoordinationStore) -> None:
    register = coordination.activations
    await register.enter(A, maximum=2, ttl=MINUTE)
    await register.leave(A)

    assert await register.renew(B, MINUTE, silence=NO_TIME) == []


async def test_a_request_that_comes_again_names_who_has_served_it(
    coordination: RedisCoordinationStore,
) -> None:
    register = coordination.activations

    assert await register.serve("request", A, MINUTE) == []
    assert await register.serve("other", B, MINUTE) == []
    assert await register.serve("request", B, MINUTE) == [A]
    assert await register.serve("request", ActivationId("c"), MINUTE) == [A, B]


async def test_a_challenge_is_met_by_renewing(coordination: RedisCoordinationStore) -> None:
    register = coordination.activations
    for name in (A, B):
        await register.enter(name, maximum=3, ttl=MINUTE)
    gone = ActivationId("gone")

    await register.challenge([A, B, gone], BRIEF, missed=NO_TIME)
    assert await register.challenged([A, B, gone], BRIEF) == [None, None, False]
    await register.renew(A, MINUTE, silence=MINUTE)

    async with asyncio.timeout(45):
        while None in (states := await register.challenged([A, B, gone], BRIEF)):
            await asyncio.sleep(0.01)
    assert states == [True, False, False]
    assert await register.count() == (1, 0)


async def test_one_that_has_missed_a_heartbeat_is_dead_at_once(
    coordination: RedisCoordinationStore,
) -> None:
    register = coordination.activations
    await register.enter(A, maximum=3, ttl=MINUTE)
    await register.enter(B, maximum=3, ttl=2 * MINUTE)

    await register.challenge([A, B], MINUTE / 2, missed=MINUTE)

    assert await register.challenged([A, B], MINUTE / 2) == [False, None]
