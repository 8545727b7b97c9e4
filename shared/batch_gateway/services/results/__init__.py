"""The result lines of a batch, from the parts that executors write to what readers get.

parts   the result lines of one shard
order   the completion order of a batch, kept beside its files
stream  every line once, while the batch runs and afterwards
losses  when a stored object counts as lost
lookup  what has become of one request
pages   going through long sequences piece by piece
"""
