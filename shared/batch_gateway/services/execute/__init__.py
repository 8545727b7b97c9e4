"""Executor: works on shards while one ``work.available`` request is open.

executor     takes an event, if there is room for one more activation
activation   opens, leases, winds down; the loops that keep an activation alive
heartbeat    leases stay ours, and what changed about their batches is learned
holding      one leased shard: which lines are left, what is finished
custody      a holding's way from lease to finish or hand-back
pools        all pools of an activation, and the loop that keeps their slots
pool         calls in flight to one endpoint and model, under the slots granted to it
turns        whose line gets the next free slot of a pool
attempt      one call of the model for one line
circuit      which endpoints are left alone for a while
watch        one executor looks at the engine of a pool, for all
aborting     which calls make room when interactive users come
pacing       how fast work goes, and which batches that makes urgent
budget       a batch that fails or costs too much is stopped
waiting      for a signal or a while
"""
