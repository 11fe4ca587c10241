"""Ask a Kafka-compatible server whether it is up, with one Metadata request over a plain socket.

A port that accepts connections is not a broker that serves: Kafka listens before it has joined its own
quorum. So *ready* means that the server answered Metadata and named at least one live broker in it.

The request is version 1 with an empty topic list, which every server we start understands: it asks for
the brokers and for no topic. No Kafka client is needed, so nothing heavy is imported.
"""

import socket
import struct

_METADATA, _VERSION, _CORRELATION = 3, 1, 1
_CLIENT = b"ready"
_MAX_ANSWER = 1 << 20


def metadata_request() -> bytes:
    """Write one length-prefixed Metadata request that names no topic."""
    head = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT
    body = head + struct.pack(">i", 0)
    return struct.pack(">i", len(body)) + body


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError(f"the server closed after {len(parts)!r} of {size!r} bytes")
        parts += part
    return bytes(parts)


def brokers(host: str, port: int, timeout_s: float = 2.0) -> int:
    """Count the live brokers that the server at `host:port` names; raises OSError when it gives no answer."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(metadata_request())
        (size,) = struct.unpack(">i", _read_exactly(connection, 4))
        if not 8 <= size <= _MAX_ANSWER:
            raise ConnectionError(f"{host}:{port} answered with a frame of {size!r} bytes: not a Kafka server")
        correlation, count = struct.unpack(">ii", _read_exactly(connection, size)[:8])
    if correlation != _CORRELATION:
        raise ConnectionError(f"{host}:{port} answered request {correlation!r}: not a Kafka server")
    return int(count)


def is_ready(host: str, port: int) -> bool:
    """Tell whether the server at `host:port` serves: False while it is down, starting or not Kafka."""
    try:
        return brokers(host, port) > 0
    except OSError:
        return False
