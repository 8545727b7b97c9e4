"""Planner: from the input file of a batch to its shards.

planner   one planning from its event to the shards in the queue
survey    one pass over the file: every line checked, and where it is
drafts    shards on their way to the store
findings  what planning finds out for the owner
chained   the input of a batch that follows another
carry     what a retry takes over from the batch that it retries
alone     no two plannings of one batch at once
"""
