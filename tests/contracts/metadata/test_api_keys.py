"""ApiKeyRows: what every metadata store must do with API keys."""

import secrets
from dataclasses import replace

import pytest
from fixtures.metadata import ALICE, BOB, SECOND, T0

from batch_gateway.core.api_keys import SECRET_BYTES, ApiKey, api_key_id, api_key_secret, digest_of
from batch_gateway.core.errors import Conflict


def _key(**changes) -> ApiKey:
    fields = {
        "id": api_key_id(secrets.token_bytes(8)),
        "tenant": ALICE,
        "name": "naïve 名前",
        "digest": digest_of(api_key_secret(secrets.token_bytes(SECRET_BYTES))),
        "created_at": T0,
    }
    return ApiKey(**(fields | changes))


async def test_a_key_is_found_by_its_digest_as_it_was_added(metadata):
    plain, ending = _key(), _key(expires_at=T0 + SECOND, tenant=BOB)
    for key in (plain, ending):
        await metadata.api_keys.add(key)

    assert await metadata.api_keys.find(plain.digest) == plain
    assert await metadata.api_keys.find(ending.digest) == ending
    assert await metadata.api_keys.find(digest_of("another")) is None


async def test_a_taken_id_or_digest_is_a_conflict_and_changes_nothing(metadata):
    key = _key()
    await metadata.api_keys.add(key)

    for clash in (_key(id=key.id), _key(digest=key.digest)):
        with pytest.raises(Conflict):
            await metadata.api_keys.add(clash)

    assert await metadata.api_keys.list() == [key]


async def test_keys_are_listed_by_creation_all_or_one_tenants(metadata):
    late, early, bobs = _key(created_at=T0 + SECOND), _key(), _key(tenant=BOB, created_at=T0)
    for key in (late, early, bobs):
        await metadata.api_keys.add(key)

    assert await metadata.api_keys.list(ALICE) == [early, late]
    assert await metadata.api_keys.list(BOB) == [bobs]
    assert await metadata.api_keys.list() == [
        *sorted([early, bobs], key=lambda key: key.id),
        late,
    ]


async def test_a_revoked_key_stays_to_be_seen_with_the_time_of_its_first_revocation(metadata):
    key = _key()
    await metadata.api_keys.add(key)
    revoked = replace(key, revoked_at=T0 + SECOND)

    assert await metadata.api_keys.revoke(key.id, now=T0 + SECOND) == revoked
    assert await metadata.api_keys.revoke(key.id, now=T0 + 2 * SECOND) == revoked

    assert await metadata.api_keys.find(key.digest) == revoked


async def test_a_key_that_is_not_there_cannot_be_revoked(metadata):
    assert await metadata.api_keys.revoke("key_none", now=T0) is None
