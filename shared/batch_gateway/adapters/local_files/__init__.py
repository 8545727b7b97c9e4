"""FileStore on a folder: one machine, or a volume that all pods share."""

from batch_gateway.adapters.local_files.store import LocalFiles

__all__ = ["LocalFiles"]
