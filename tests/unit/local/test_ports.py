"""A port that was chosen for a process is given to no other before the process listens."""

import asyncio
import socket
import struct
import sys

import pytest

from batch_gateway.local.ports import ReservedPort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are only kept on Linux")

#: Since Linux 6.3: which ports a socket may be given (linux/in.h).
IP_LOCAL_PORT_RANGE = 51


def only(port: int) -> socket.socket:
    """A socket that can be given no other port than ``port``."""
    client = socket.socket()
    client.setsockopt(socket.SOL_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
    return client


def test_no_connection_is_given_the_port():
    reserved = ReservedPort()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        address = elsewhere.getsockname()
        with only(reserved.number) as client, pytest.raises(OSError, match="Cannot assign"):
            client.connect(address)

        port = reserved.number
        del reserved
        with only(port) as client:
            client.connect(address)


def test_no_other_server_is_given_the_port_and_nothing_answers_there():
    reserved = ReservedPort()

    with only(reserved.number) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", 0))
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", reserved.number)) != 0


async def test_its_process_may_listen_there_again_and_again():
    reserved = ReservedPort()

    for _ in range(2):
        server = await asyncio.start_server(
            lambda _reader, writer: writer.close(), "127.0.0.1", reserved.number
        )
        async with server:
            reader, writer = await asyncio.open_connection("127.0.0.1", reserved.number)
            assert await reader.read() == b""
            writer.close()
