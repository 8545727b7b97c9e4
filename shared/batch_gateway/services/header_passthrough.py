"""Client headers that the calls of a batch carry: stored encrypted, bound to their batch.

They may be credentials, so they are encrypted before they are stored, and bound to their batch: a
tampered row cannot make one batch use the headers of another.
"""

from collections.abc import Mapping

import msgspec

from batch_gateway.core.errors import Permanent, Unavailable
from batch_gateway.core.ids import BatchId
from batch_gateway.core.model import Lease
from batch_gateway.ports.secrets import SecretSealer


class _Content(msgspec.Struct):
    batch: str
    headers: dict[str, str]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Content).decode


class HeaderPassthrough:
    def __init__(self, sealer: SecretSealer) -> None:
        self._sealer = sealer

    def seal(self, batch: BatchId, headers: Mapping[str, str]) -> str | None:
        """As the batch's row keeps them; None when there are none."""
        if not headers:
            return None
        return self._sealer.seal(_encode(_Content(batch, dict(headers))).decode())

    def open(self, lease: Lease) -> Mapping[str, str]:
        """The headers of the lease's batch; raises Unavailable while they cannot be opened."""
        if lease.sealed is None:
            return {}
        batch = lease.shard.batch
        try:
            content = _decode(self._sealer.open(lease.sealed))
        except (Permanent, msgspec.DecodeError) as error:
            raise Unavailable(
                f"the headers of {batch} cannot be opened (inference.header_keys): {error}"
            ) from error
        if content.batch != batch:
            raise Unavailable(f"the headers of {batch} are another batch's")
        return content.headers
