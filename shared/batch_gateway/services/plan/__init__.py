"""Planner: validates the input file of a batch and divides it into shards.

planner         handles one event, up to the shards in the queue
input_scan      checks every line in one pass, and indexes them
shard_builder   builds the shards from the index
plan_summary    estimates and counts for the owner of the batch
chained_input   the input of a batch that depends on another one
reused_results  results that a retry takes from the batch that it retries
exclusive_lock  prevents two concurrent plannings of one batch
"""
