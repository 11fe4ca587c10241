"""The body of a request: unchunked, decompressed and kept whole before anything is done with it.

A body that breaks off is noticed here, so an insert that was never sent whole is never begun. Bodies above
a few megabytes go to a file that has no name, so nothing is left behind whatever happens.
"""

import bz2
import importlib
import lzma
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import BinaryIO, Protocol, cast

from ops.embedded.sql import QueryError, not_implemented

CHUNK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 32 << 20
_MAX_LINE = 4096
_HTTP_ERROR = (1000, "POCO_EXCEPTION")


class Decompressor(Protocol):
    """What the decompressors of the standard library, lz4 and zstd have in common."""

    @property
    def eof(self) -> bool:
        """Whether one frame is at its end."""

    @property
    def unused_data(self) -> bytes:
        """What came after the end of that frame."""

    def decompress(self, data: bytes, /) -> bytes:
        """Give the plain bytes of the next piece."""


def spool() -> BinaryIO:
    """Make a place for any number of bytes: in memory while they are few, else in a nameless file."""
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES))


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """Read what is left of `source`, a megabyte at a time."""
    while piece := source.read(CHUNK_BYTES):
        yield piece


def read_body(headers: Message, source: BinaryIO) -> BinaryIO:
    """Read the plain body that `headers` announce on `source`; raises QueryError if it breaks off."""
    received = _unchunked(source) if _is_chunked(headers) else _counted(source, int(headers.get("Content-Length", 0)))
    body = spool()
    for piece in _plain(received, headers.get("Content-Encoding", "identity").strip().lower()):
        body.write(piece)
    body.seek(0)
    return body


def _is_chunked(headers: Message) -> bool:
    return bool(headers.get("Transfer-Encoding", "").strip().lower() == "chunked")


def _counted(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = source.read(min(size, CHUNK_BYTES))
        if not piece:
            raise QueryError(*_HTTP_ERROR, f"the request broke off {size!r} bytes before its end")
        size -= len(piece)
        yield piece


def _unchunked(source: BinaryIO) -> Iterator[bytes]:
    while True:
        line = source.readline(_MAX_LINE)
        match = re.fullmatch(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n", line)
        if match is None:
            raise QueryError(*_HTTP_ERROR, f"the request broke off, or its chunk begins with {line[:20]!r}")
        size = int(match[1], 16)
        if size == 0:
            break
        yield from _counted(source, size)
        source.readline(_MAX_LINE)
    while source.readline(_MAX_LINE) not in (b"\r\n", b"\n", b""):
        pass  # trailers


def _plain(received: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield from received
        return
    frame: Decompressor | None = None
    for piece in received:
        data = piece
        while data:
            frame = _decompressor(encoding) if frame is None or frame.eof else frame
            yield _decompressed(frame, data, encoding)
            data = frame.unused_data if frame.eof else b""
    if frame is not None and not frame.eof:
        raise QueryError(354, "CANNOT_DECOMPRESS", f"the {encoding!r} body breaks off inside of a frame")


def _decompressed(frame: Decompressor, data: bytes, encoding: str) -> bytes:
    try:
        return bytes(frame.decompress(data))
    except Exception as error:  # each library has errors of its own
        raise QueryError(354, "CANNOT_DECOMPRESS", f"the body is not {encoding!r}: {error}") from error


def _decompressor(encoding: str) -> Decompressor:
    try:
        match encoding:
            case "gzip" | "x-gzip":
                return cast("Decompressor", zlib.decompressobj(wbits=31))
            case "deflate":
                return cast("Decompressor", zlib.decompressobj())
            case "bz2":
                return cast("Decompressor", bz2.BZ2Decompressor())
            case "xz":
                return cast("Decompressor", lzma.LZMADecompressor())
            case "lz4":
                return cast("Decompressor", importlib.import_module("lz4.frame").LZ4FrameDecompressor())
            case "zstd":
                return cast("Decompressor", importlib.import_module("backports.zstd").ZstdDecompressor())
    except ImportError as error:
        raise not_implemented(f"Content-Encoding {encoding!r} ({error}); send plain bytes or gzip") from error
    raise not_implemented(f"Content-Encoding {encoding!r}; send plain bytes, gzip, lz4 or zstd")


def form_fields(body: bytes, headers: Message) -> Mapping[str, bytes]:
    """Read the fields of a `multipart/form-data` body; raises QueryError for files, which are external tables."""
    boundary = str(headers.get_param("boundary", "")).encode()
    fields: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name is None:
            raise QueryError(*_HTTP_ERROR, f"a part of the form has no name: {head[:80]!r}")
        if b"filename=" in head:
            raise not_implemented(f"external data ({name[1].decode(errors='replace')!r}); insert it into a table first")
        fields[name[1].decode(errors="replace")] = content
    return fields
