"""Executor: works on shards while one ``work.available`` request is open.

executor          handles an event, unless the maximum of activations runs
activation        registers, runs the loops, ends in time
components        the objects of one activation
collaborators     the dependencies of an executor, grouped
lease_loop        leases one shard after the other
shard_selector    selects the next shard to lease
shard_leases      the steps of a lease: acquire, open, flush, checkpoint, finish, release
lease_renewer     renews heartbeats
lease_monitor     checks the leases in the database; reclaims leases of dead executors
shard_supervisor  one task per leased shard, from claim to finish or release
lease_state       the states of a leased shard, and their transitions
leased_shard      one leased shard: its state and its open lines
result_buffer     the results of a leased shard, stored or waiting to be stored
pools             all pools of an activation, and the loop that keeps their slots
pool              calls in flight to one endpoint and model, under the slots granted to it
slot_scheduler    selects the line that gets the next free slot of a pool
attempt           one call of the model for one line
outcomes          counts the outcomes of a pool's calls
circuit           circuit breakers of endpoints
engine_monitor    reads metrics of an engine, or probes it, for all executors
preemption        selects calls to abort for interactive requests
throughput        reports throughput, and marks urgent batches
budget            stops batches that fail too often or use too many tokens
supervision       restarts loops after unexpected errors
waiting           waits for a signal or a timeout
"""
