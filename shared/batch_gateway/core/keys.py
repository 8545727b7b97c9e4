"""Rules for keys of the FileStore; all stores share them.

Keys become paths on a filesystem and names in a bucket, so whatever means something special to
either is refused. Segments that begin with a dot belong to the stores: unfinished writes live
there, unseen by listings.
"""


def checked_key(key: str) -> str:
    """``key`` itself. Raises ValueError when it is not a relative path of plain segments."""
    plain = all(segment and not segment.startswith(".") for segment in key.split("/"))
    if not plain or "\\" in key or "\0" in key:
        raise ValueError(f"not a key of the file store: {key!r}")
    return key


def checked_prefix(prefix: str) -> str:
    """``prefix`` itself. Raises ValueError when it is not a key followed by ``/``."""
    if not prefix.endswith("/"):
        raise ValueError(f"a prefix ends with a slash: {prefix!r}")
    checked_key(prefix[:-1])
    return prefix
