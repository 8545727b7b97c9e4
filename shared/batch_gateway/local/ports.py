"""Ports of the loopback interface for processes that the platform starts."""

import os
import socket
import sys
import weakref


class ReservedPort:
    """A free port, kept for one process from now on: nothing else is given it meanwhile.

    A port that is only looked up may be taken before its process listens, by any connection to any
    place: then the process ends at once, as "address already in use". So a socket stays bound to
    it. On Linux a server that sets SO_REUSEADDR, as all of ours do, may listen on a port that is
    bound in the same way and has no listener. Other systems do not allow that, so the port is only
    looked up there.

    It is kept for as long as this object exists, also between two lives of a process that is
    started again.
    """

    def __init__(self) -> None:
        """Raises OSError when there is none."""
        with socket.socket() as bound:
            if sys.platform == "linux":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            self.number = int(bound.getsockname()[1])
            if sys.platform == "linux":
                weakref.finalize(self, os.close, bound.detach())
