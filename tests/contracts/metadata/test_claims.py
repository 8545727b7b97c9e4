"""ClaimRows: what every metadata store must do with claims of idempotent requests."""

import asyncio
from dataclasses import replace
from itertools import count

from fixtures.metadata import SECOND, T0

from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse

ANSWER = StoredResponse(status=200, content_type="application/json", body='{"naïve": "名前"}')
_numbers = count()


def a_claim(**changes) -> IdempotencyClaim:
    number = next(_numbers)
    fields = {
        "id": f"claim-{number}",
        "seed": f"{number:032x}",
        "holder": "first",
        "held_until": T0 + 60 * SECOND,
        "created_at": T0,
        "fingerprint": "f",
    }
    return IdempotencyClaim(**(fields | changes))


def later(claim: IdempotencyClaim, seconds: int = 1, **changes) -> IdempotencyClaim:
    """The claim of another request ``seconds`` later with the same key."""
    shift = seconds * SECOND
    fields = {
        "seed": "e" * 32,
        "holder": "second",
        "held_until": claim.held_until + shift,
        "created_at": claim.created_at + shift,
    }
    return replace(claim, **(fields | changes))


async def test_who_comes_first_has_the_claim_and_others_see_it(metadata):
    claim = a_claim()

    assert await metadata.claims.claim(claim) == claim
    assert await metadata.claims.claim(later(claim)) == claim


async def test_of_many_at_once_one_has_the_claim(metadata):
    claim = a_claim()
    wanted = [replace(claim, holder=f"holder-{n}", seed=f"{n:032x}") for n in range(10)]

    found = await asyncio.gather(*map(metadata.claims.claim, wanted))

    assert len({one.holder for one in found}) == 1
    assert sum(one == mine for one, mine in zip(found, wanted, strict=True)) == 1


async def test_an_answered_claim_stays_as_it_is(metadata):
    claim = a_claim(fingerprint=None)
    await metadata.claims.claim(claim)

    assert await metadata.claims.answer(claim.id, "first", "f", ANSWER)

    answered = replace(claim, fingerprint="f", answer=ANSWER)
    assert await metadata.claims.claim(later(claim, 3600)) == answered
    assert not await metadata.claims.answer(claim.id, "first", "g", ANSWER)
    await metadata.claims.release(claim.id, "first", now=T0, refused=True)
    assert await metadata.claims.claim(later(claim, 3600)) == answered


async def test_a_claim_that_ran_out_goes_to_the_next_with_its_seed_and_body(metadata):
    claim = a_claim()
    await metadata.claims.claim(claim)
    wanted = later(claim, 60, fingerprint="another")

    taken = await metadata.claims.claim(wanted)

    assert taken == replace(claim, holder="second", held_until=wanted.held_until)
    assert not await metadata.claims.answer(claim.id, "first", "f", ANSWER)
    await metadata.claims.release(claim.id, "first", now=T0, refused=True)
    assert await metadata.claims.claim(later(claim, 61, holder="third")) == taken
    assert await metadata.claims.answer(claim.id, "second", "f", ANSWER)


async def test_a_released_claim_is_free_and_keeps_its_body_unless_that_was_refused(metadata):
    broken, refused = a_claim(), a_claim()
    for claim in (broken, refused):
        await metadata.claims.claim(claim)
        await metadata.claims.release(claim.id, "first", now=T0, refused=claim is refused)

    [after_crash, after_refusal] = [
        await metadata.claims.claim(later(claim, fingerprint="another"))
        for claim in (broken, refused)
    ]

    assert (after_crash.holder, after_crash.fingerprint) == ("second", "f")
    assert (after_refusal.holder, after_refusal.fingerprint) == ("second", "another")
    assert (after_crash.seed, after_refusal.seed) == (broken.seed, refused.seed)


async def test_a_withdrawn_claim_is_as_if_it_had_never_been(metadata):
    claim = a_claim()
    await metadata.claims.claim(claim)

    await metadata.claims.withdraw(claim.id, "second")
    assert await metadata.claims.claim(later(claim)) == claim
    await metadata.claims.withdraw(claim.id, "first")

    wanted = later(claim)
    assert await metadata.claims.claim(wanted) == wanted
    await metadata.claims.withdraw(claim.id, "second")
    assert await metadata.claims.forget(T0 + 3600 * SECOND, 100) == 0


async def test_an_answered_claim_cannot_be_withdrawn(metadata):
    claim = a_claim()
    await metadata.claims.claim(claim)
    await metadata.claims.answer(claim.id, "first", "f", ANSWER)

    await metadata.claims.withdraw(claim.id, "first")

    assert (await metadata.claims.claim(later(claim))).answer == ANSWER


async def test_claims_that_are_made_and_withdrawn_at_once_have_one_holder_at_a_time(metadata):
    claim = a_claim()
    holding = 0

    async def once(number: int) -> int:
        nonlocal holding
        wanted = replace(claim, holder=f"holder-{number}")
        found = await metadata.claims.claim(wanted)
        if found.holder != wanted.holder:
            return 0
        holding += 1
        assert holding == 1
        holding -= 1
        await metadata.claims.withdraw(claim.id, wanted.holder)
        return 1

    assert sum(await asyncio.gather(*map(once, range(40)))) >= 1


async def test_old_claims_are_forgotten_the_oldest_first(metadata):
    claims = [a_claim(created_at=T0 + number * SECOND) for number in range(4)]
    for claim in claims:
        await metadata.claims.claim(claim)

    assert await metadata.claims.forget(T0 + 3 * SECOND, 2) == 2
    assert await metadata.claims.forget(T0 + 3 * SECOND, 2) == 1
    assert await metadata.claims.forget(T0 + 3 * SECOND, 2) == 0

    assert await metadata.claims.claim(later(claims[3])) == claims[3]
    assert (await metadata.claims.claim(later(claims[2]))).holder == "second"
