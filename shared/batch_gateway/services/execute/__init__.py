"""Executor: works on shards while one ``work.available`` request is open.

executor          takes an event, if there is room for one more activation
activation        leases, runs its loops, winds down
collaborators     what an executor needs from outside, grouped
shard_selector    which shard is leased next, and how many are held
shard_leases      acquire, open, flush, checkpoint, finish, release
lease_renewer     renews heartbeats, and waits for nothing else
lease_monitor     checks the leases in the database; reclaims leases of dead executors
shard_supervisor  one task per leased shard, from claim to finish or hand-back
lease_state       the states of a leased shard, and their transitions
leased_shard      one leased shard: lines that are left, lines that are finished
pools             all pools of an activation, and the loop that keeps their slots
pool              calls in flight to one endpoint and model, under the slots granted to it
slot_scheduler    whose line gets the next free slot of a pool
attempt           one call of the model for one line
outcomes          what came of a pool's calls
circuit           which endpoints are unavailable for now
engine_monitor    one executor monitors the engine of a pool, for all
preemption        which calls make room when interactive users come
throughput        how fast work goes, and which batches that makes urgent
budget            a batch that fails or costs too much is stopped
supervision       loops that survive errors which were not foreseen
waiting           for a signal or a while
"""
