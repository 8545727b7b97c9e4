"""Headers of clients are sealed for one batch."""

from datetime import UTC, datetime

import pytest

from batch_gateway.adapters.sealing import FernetSealer
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.ids import BatchId, TenantId
from batch_gateway.core.model import Lease, Shard
from batch_gateway.services.header_passthrough import HeaderPassthrough
from batch_gateway.settings import InferenceSettings

ONE, OTHER = BatchId("batch_1"), BatchId("batch_2")
HEADERS = {"authorization": "Bearer secret", "x-team": "\u00fc"}


def passing(*keys: bytes) -> HeaderPassthrough:
    return HeaderPassthrough(FernetSealer(keys))


def lease(batch: BatchId, sealed: str | None) -> Lease:
    return Lease(
        shard=Shard(batch=batch, index=0, model="m", key="k", lines=1, cost=1),
        tenant=TenantId("t"),
        deadline=datetime(2026, 11, 26, tzinfo=UTC),
        priority=5,
        options={},
        traceparent=None,
        sealed=sealed,
    )


def test_what_was_sealed_is_opened_for_the_same_batch():
    sealed = passing(b"key").seal(ONE, HEADERS)

    assert sealed is not None
    assert "secret" not in sealed
    assert passing(b"key").open(lease(ONE, sealed)) == HEADERS
    assert sealed not in repr(lease(ONE, sealed))


def test_no_headers_need_no_seal():
    assert passing(b"key").seal(ONE, {}) is None
    assert passing(b"key").open(lease(ONE, None)) == {}


def test_keys_can_be_rotated():
    sealed = passing(b"old").seal(ONE, HEADERS)

    assert passing(b"new", b"old").open(lease(ONE, sealed)) == HEADERS


def test_without_the_key_they_stay_closed():
    sealed = passing(b"old").seal(ONE, HEADERS)

    with pytest.raises(Unavailable, match="headers of batch_1 cannot be opened"):
        passing(b"new").open(lease(ONE, sealed))


def test_another_batch_cannot_borrow_them():
    sealed = passing(b"key").seal(ONE, HEADERS)

    with pytest.raises(Unavailable, match="another batch's"):
        passing(b"key").open(lease(OTHER, sealed))


def test_headers_are_not_passed_without_a_key_to_seal_them():
    with pytest.raises(ValueError, match=r"needs inference\.header_keys"):
        InferenceSettings(pass_headers=("authorization",))


@pytest.mark.parametrize("name", ["content-length", "Host", "x y", ""])
def test_some_headers_are_never_passed(name):
    with pytest.raises(ValueError, match="cannot be passed on"):
        InferenceSettings(pass_headers=(name,), header_keys="x")
