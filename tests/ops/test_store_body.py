"""The body of a request, whatever it travels in."""

import bz2
import gzip
import importlib
import lzma
import zlib
from email.message import Message
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.embedded.body import form_fields, read_body
from ops.embedded.sql import QueryError

COMPRESS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": importlib.import_module("lz4.frame").compress,
    "zstd": importlib.import_module("backports.zstd").compress,
}


def headers(**values: str) -> Message:
    message = Message()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    return message


def chunked(parts: list[bytes]) -> bytes:
    return (
        b"".join(b"%x;extension\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\nTrailer: x\r\n\r\n"
    )


@given(st.lists(st.binary(max_size=200)), st.sampled_from(sorted(COMPRESS)))
def test_frames_after_each_other_are_one_body(frames: list[bytes], encoding: str) -> None:
    sent = b"".join(COMPRESS[encoding](frame) for frame in frames)
    body = read_body(headers(Content_Length=str(len(sent)), Content_Encoding=encoding), BytesIO(sent + b"next"))
    assert body.read() == b"".join(frames)


@given(st.lists(st.binary(max_size=200)))
def test_chunks_are_one_body_and_leave_the_next_request(parts: list[bytes]) -> None:
    source = BytesIO(chunked(parts) + b"POST / HTTP/1.1")
    body = read_body(headers(Transfer_Encoding="chunked"), source)
    assert body.read() == b"".join(parts)
    assert source.read() == b"POST / HTTP/1.1"


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_body_that_breaks_off_is_refused(content: bytes, data: st.DataObject) -> None:
    whole = chunked([content])
    cut = data.draw(st.integers(0, len(whole) - len(b"\r\nTrailer: x\r\n\r\n") - 1))
    with pytest.raises(QueryError, match="broke off"):
        read_body(headers(Transfer_Encoding="chunked"), BytesIO(whole[:cut]))
    with pytest.raises(QueryError, match="broke off 1 bytes"):
        read_body(headers(Content_Length=str(len(content) + 1)), BytesIO(content))


def test_a_frame_that_breaks_off_is_refused() -> None:
    sent = gzip.compress(b"x" * 1000)[:-9]
    with pytest.raises(QueryError, match="breaks off inside of a frame"):
        read_body(headers(Content_Length=str(len(sent)), Content_Encoding="gzip"), BytesIO(sent))


def test_a_body_that_is_not_what_it_says_is_refused() -> None:
    with pytest.raises(QueryError, match="the body is not 'gzip'"):
        read_body(headers(Content_Length="8", Content_Encoding="gzip"), BytesIO(b"SELECT 1"))
    with pytest.raises(QueryError, match="NOT_IMPLEMENTED"):
        read_body(headers(Content_Length="8", Content_Encoding="br"), BytesIO(b"SELECT 1"))


def test_a_body_larger_than_memory_is_kept_whole() -> None:
    sent = bytes(range(256)) * 300_000
    body = read_body(headers(Content_Length=str(len(sent))), BytesIO(sent))
    assert body.read() == sent


def test_the_fields_of_a_form_are_told_by_name() -> None:
    content = b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT\r\n1\r\n--b\r\n'
    content += b'Content-Disposition: form-data; name="param_x"\r\n\r\n\xff\r\n--b--\r\n'
    form = headers(Content_Type="multipart/form-data; boundary=b")
    assert form_fields(content, form) == {"query": b"SELECT\r\n1", "param_x": b"\xff"}
