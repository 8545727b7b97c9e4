"""Executor: works on shards while one ``work.available`` request is open.

activation   opens, leases, winds down; the loops that keep an activation alive
holding      one leased shard: which lines are left, what is finished
custody      a holding's way from lease to finish or hand-back
pool         calls in flight to one endpoint and model, under the slots granted to it
attempt      one call of the model for one line
"""
