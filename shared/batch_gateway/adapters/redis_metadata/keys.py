"""The names of all keys.

All names begin with the root, whose hash tag puts them on one node, so that a script may reach any
of them. The scripts make the names themselves (``key()`` in ``lua/_prelude.lua``).

Rows (hashes of simple fields; a missing field is None), and the plan's order:

    file:<id>                         one file
    upload:<id>                       one upload; also parts and stored (how many, and their bytes)
    upload-parts:<upload>             part id -> part
    batch:<id>                        one batch; also status_since, assembler, assembler_until,
                                      swept
    shards:<batch>                    all shards of a batch, in fields such as ``7.epoch``
    planned:<batch>                   zset of the indexes of those shards
    summary:<batch>                   text: what a batch has come to that has ended
    outbox                            event id -> event
    audit                             id -> entry of the audit log
    audit-ids                         zset of those ids; ordered by bytes, which is by time
    api-key:<id>                      one API key
    api-keys-by-digest                digest -> id
    claim:<id>                        what is remembered of a request with an Idempotency-Key
    claims-by-age                     zset of ids by creation
    api-keys                          zset ordered by bytes, as a tenant's listings are
    causes                            key of a cause -> the batch that was made for it
    causes-by-age                     zset of those keys by creation
    dead-letter:<id>                  one event that no subscriber has taken
    dead-letters                      zset of ids by the time they died
    webhook-endpoint:<id>             one webhook endpoint
    webhook-delivery:<id>             the delivery of one event to one endpoint

The state of a shard is its membership alone, so closing twenty thousand of them is one step:
a shard that is in neither is closed.

    ready:<batch>                     zset of indexes
    leases                            zset of shard ids by the time of the grant
    leased:<batch>                    set of indexes: the batch's part of ``leases``

A tenant's listings (zsets ordered by bytes, ``<creation, 20 digits>:<id>``; ``<n>`` is the length
of the tenant's name):

    files-of:<n>:<tenant>             all files
    files-of:<n>:<tenant>:<purpose>   those of one purpose
    batches-of:<n>:<tenant>
    account:<n>:<tenant>              not a listing but a hash: what the tenant has
    webhook-endpoints-of:<n>:<tenant>
    webhook-deliveries-of:<n>:<tenant>:<endpoint>
    usage:<n>:<tenant>:<day>          not a listing but a hash: amounts of the batches that ended on
                                      that day, in fields such as ``completed:["key","model"]``

Indexes of the sweeps (zsets of ids; the score is the instant in the name):

    files-by-expiry
    uploads-by-expiry
    batches-by-status:<status>        by the time they entered it
    batches-by-deadline               validating or in_progress without an ending
    batches-by-fence                  with an ending and open shards
    batches-stranded                  in_progress without open shards
    batches-ended                     terminal, work objects not deleted yet
    batches-runnable                  with ready shards that may be claimed; ordered by id
    usage-days                        ``<day>:<tenant>`` of each of these hashes; ordered by bytes
    outbox-unsent                     events by the time they were written
    webhook-deliveries-due            pending ones, by their next attempt
    webhook-deliveries-by-age         by creation

Others:

    schema                            version of this layout
    staged-shards:<attempt>           a plan that is being written; expires by itself
    staged-planned:<attempt>
    staged-ready:<attempt>
"""

import re
from datetime import date

from batch_gateway.core.ids import BatchId, FileId, TenantId, UploadId
from batch_gateway.core.model import BatchStatus
from batch_gateway.core.webhooks import DeliveryId, EndpointId

SCHEMA = "1"
TAG = "metadata"
"""Hash tag of all keys."""


class MetadataKeys:
    """The names that Python needs: those of single rows."""

    def __init__(self, prefix: str) -> None:
        if "{" in prefix:
            raise ValueError("the key prefix must not contain '{': that would begin a hash tag")
        self.root = f"{prefix}:{{{TAG}}}"
        self.schema = f"{self.root}:schema"

    def account(self, tenant: TenantId) -> str:
        return self.of_tenant("account", tenant)

    def of_tenant(self, kind: str, tenant: TenantId) -> str:
        return f"{self.root}:{kind}:{len(tenant.encode())}:{tenant}"

    @property
    def accounts(self) -> str:
        """A pattern that all accounts match, and nothing else."""
        root = re.sub(r"[][*?\\^-]", r"\\\g<0>", self.root)
        return f"{root}:account:*"

    @property
    def uploads_by_expiry(self) -> str:
        return f"{self.root}:uploads-by-expiry"

    def file(self, file: FileId) -> str:
        return f"{self.root}:file:{file}"

    def upload(self, upload: UploadId) -> str:
        return f"{self.root}:upload:{upload}"

    def batch(self, batch: BatchId) -> str:
        return f"{self.root}:batch:{batch}"

    def summary(self, batch: BatchId) -> str:
        return f"{self.root}:summary:{batch}"

    def usage(self, tenant: TenantId, day: date) -> str:
        return f"{self.of_tenant('usage', tenant)}:{day.isoformat()}"

    @property
    def audit(self) -> str:
        return f"{self.root}:audit"

    @property
    def audit_ids(self) -> str:
        return f"{self.root}:audit-ids"

    @property
    def usage_days(self) -> str:
        return f"{self.root}:usage-days"

    def webhook_endpoint(self, endpoint: EndpointId) -> str:
        return f"{self.root}:webhook-endpoint:{endpoint}"

    def webhook_delivery(self, delivery: DeliveryId) -> str:
        return f"{self.root}:webhook-delivery:{delivery}"

    def dead_letter(self, letter: str) -> str:
        return f"{self.root}:dead-letter:{letter}"

    @property
    def batches_by_deadline(self) -> str:
        return f"{self.root}:batches-by-deadline"

    def batches_by_status(self, status: BatchStatus) -> str:
        return f"{self.root}:batches-by-status:{status}"

    def staged(self, kind: str, attempt: str) -> str:
        """Where a plan's ``kind`` (shards, planned or ready) is written before it is adopted."""
        return f"{self.root}:staged-{kind}:{attempt}"
