"""IdempotencyClaimRows: claims of requests that carry an Idempotency-Key."""

from datetime import datetime

from batch_gateway.adapters.redis_metadata.codec import from_answer, from_claim, to_claim
from batch_gateway.adapters.redis_metadata.fields import row
from batch_gateway.adapters.redis_metadata.scripts import MetadataScripts
from batch_gateway.core.idempotency import IdempotencyClaim, StoredResponse


class RedisIdempotencyClaims:
    def __init__(self, scripts: MetadataScripts) -> None:
        self._scripts = scripts

    async def claim(self, wanted: IdempotencyClaim) -> IdempotencyClaim:
        return to_claim(row(await self._scripts.run("claim_request", claim=from_claim(wanted))))

    async def answer(
        self, claim: str, holder: str, fingerprint: str, answer: StoredResponse
    ) -> bool:
        changes = {"fingerprint": fingerprint, "answer": from_answer(answer)}
        changed = await self._scripts.run(
            "change_claim", claim=claim, holder=holder, changes=changes
        )
        return bool(changed)

    async def release(self, claim: str, holder: str, *, now: datetime, refused: bool) -> None:
        await self._scripts.run(
            "change_claim", claim=claim, holder=holder, changes={}, released_at=now, refused=refused
        )

    async def withdraw(self, claim: str, holder: str) -> None:
        await self._scripts.run("withdraw_claim", claim=claim, holder=holder)

    async def forget(self, before: datetime, limit: int) -> int:
        return int(await self._scripts.run("forget_claims", before=before, limit=limit))
