"""The results of a batch: stores result lines in parts, streams them and looks them up.

parts             the result lines of one shard
completion_order  the completion order of a batch, stored beside its files
stream            every line once, while the batch runs and afterwards
lost_objects      decides when a stored object counts as lost
lookup            the state and the result of one request
pages             iterates over long sequences in pieces
"""
