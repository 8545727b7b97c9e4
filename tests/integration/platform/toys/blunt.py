"""A server whose answers have no length: they end with their connection."""

import asyncio
import os


async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    body = head.split()[1] * 1000
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body)
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
