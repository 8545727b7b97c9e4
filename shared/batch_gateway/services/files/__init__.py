"""Files: uploaded whole or in parts, or produced by batches.

service  created, listed, read, deleted
uploads  files that come in parts
content  what is asked of a file whose bytes have come
room     whether a tenant has room for one more
"""
