"""Client of the Millrace stream manager: one module, standard library only, Python 3.9 and later.

    from millrace import Producer
    with Producer("readings") as producer:
        producer.append(b"21.5")

A producer takes messages without waiting and sends them from a thread of its own, in batches, each stored exactly once and in
order. `read` and `subscribe` give messages back. The engine's README describes the protocol, under "Protocol".
"""

from __future__ import annotations

import atexit
import base64
import collections
import hashlib
import ipaddress
import itertools
import json
import logging
import os
import secrets
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
import weakref
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)
from urllib.parse import urlsplit

__version__ = "0.1.0"
__all__ = [
    "BufferFull",
    "Counters",
    "Gap",
    "Message",
    "MillraceError",
    "Producer",
    "Rejection",
    "Subscription",
    "create_stream",
    "describe_stream",
    "read",
    "subscribe",
]

Payload = Union[bytes, bytearray, memoryview, str]

_log = logging.getLogger("millrace")

# Limits of the protocol; see the README.
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_BATCH_BYTES_MAX = 1024 * 1024
# 16,384 messages, with the length of each.
_BATCH_PARTS_MAX = 2 * 16_384
_IN_FLIGHT_BATCHES_MAX = 64
_IN_FLIGHT_BYTES_MAX = 4 * 1024 * 1024
_CREDIT_BYTES_MAX = 16 * 1024 * 1024
_FRAME_BYTES_MAX = 32 * 1024 * 1024

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
# The engine sends a ping after 30 s of silence.
_SILENCE_SECONDS = 90.0
_BACKOFF_SECONDS_MIN = 0.05
_BACKOFF_SECONDS_MAX = 5.0
# How long after its last message a producer's thread looks for new ones by itself, before it sleeps until it is woken.
_ACTIVE_SECONDS = 0.1
_RECEIVE_BYTES = 256 * 1024
_GAPS_IN_A_ROW_MAX = 3
_BATCH_BYTES_DEFAULT = 64 * 1024
# Compression: as large as a block of the store; smaller batches go as they are, and those of which more than a share is left. On
# the same machine that is what the engine would compress once more.
_COMPRESSED_BATCH_BYTES_DEFAULT = 256 * 1024
_COMPRESSED_BYTES_MIN = 1024
_COMPRESSED_LOCAL_BYTES_MIN = 48 * 1024
_COMPRESSED_BYTES_MAX = 4 * 1024 * 1024
_COMPRESSED_SHARE_MAX = 15 / 16
# After so many in a row that did not shrink, one in so many is tried.
_FUTILE_TRIES_MAX = 4
_PROBE_BATCHES = 16

_OPEN_STREAM = 64
_OPEN_STREAM_RESULT = 65
_APPEND_BATCH = 66
_APPEND_BATCH_RESULT = 67
_SUBSCRIBE = 68
_SUBSCRIBE_RESULT = 69
_MESSAGES = 70
_CREDIT = 71
_UNSUBSCRIBE = 72
_DESCRIBE_STREAM = 73
_CREATE_STREAM = 77
_FLAG_LZ4 = 1
_FLAG_PRODUCER = 2

_APPEND_HEAD = struct.Struct("<BBHIIIIQQ")
_APPEND_RESULT = struct.Struct("<IIQ")
_OPEN_RESULT = struct.Struct("<BBHIIQ")
_SUBSCRIBE_HEAD = struct.Struct("<BBHIIQI")
_SUBSCRIBE_RESULT_HEAD = struct.Struct("<BBHIQ")
_MESSAGES_HEAD = struct.Struct("<BBHIQQI")
_MESSAGES_RUN = struct.Struct("<IIQ")
_CREDIT_FRAME = struct.Struct("<BBHII")
_UNSUBSCRIBE_FRAME = struct.Struct("<BBHI")
_DOCUMENT_HEAD = struct.Struct("<BBHII")
_U32 = struct.Struct("<I")

# Lengths of small messages, ready to be written.
_SHORT = 1024
_LENGTHS = [_U32.pack(length) for length in range(_SHORT)]

_STATUS_CODES = {
    1: "INTERNAL",
    2: "UNAUTHORIZED",
    3: "INVALID_REQUEST",
    4: "MESSAGE_TOO_LARGE",
    5: "STREAM_NOT_FOUND",
    6: "UNKNOWN_OUTCOME",
    7: "RESPONSE_TOO_LARGE",
    14: "STORE_READ_ERROR",
    15: "SERVER_BUSY",
    18: "UNKNOWN_OPERATION",
    64: "STREAM_FULL",
    65: "UNKNOWN_OUTCOME",
    66: "STORAGE_READ_ONLY",
    67: "SEQUENCE_GAP",
    68: "UNKNOWN_HANDLE",
    69: "SERVER_BUSY",
}
# The same request may succeed later.
_RETRYABLE = {"STREAM_FULL", "UNKNOWN_OUTCOME", "STORAGE_READ_ONLY", "UNKNOWN_HANDLE", "SERVER_BUSY", "CONNECT_FAILED"}
# Answers after which a producer sends the same batch again.
_RESEND = {"UNKNOWN_OUTCOME", "SERVER_BUSY", "UNKNOWN_HANDLE"}
# Refusals that say of every copy of a batch that it is not stored.
_NOT_STORED = {"STREAM_FULL", "MESSAGE_TOO_LARGE", "INVALID_REQUEST"}


class MillraceError(Exception):
    """Any failure. `code` says which: CONNECT_FAILED, UNAUTHORIZED, STREAM_NOT_FOUND, STREAM_FULL, SEQUENCE_GAP, TIMEOUT, …"""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> Tuple[Any, ...]:
        return (type(self), (self.code, str(self)))


class BufferFull(MillraceError):
    """The producer holds as much as it may (`when_full="raise"`); the message was not taken."""


class Rejection(NamedTuple):
    """Messages that the producer gives up."""

    error: MillraceError
    messages: List[bytes]
    # A copy was sent of which nobody has told whether it was stored; else they are not stored.
    may_be_stored: bool


class Counters(NamedTuple):
    """What a producer has done so far, in messages but for `batches` and `sent_bytes`."""

    appended: int
    acknowledged: int
    rejected: int
    dropped: int
    # Sent more than once; stored they are once.
    resent: int
    batches: int
    # Of the frames of all batches sent, compressed where they were.
    sent_bytes: int


class Message(NamedTuple):
    sequence: int
    # Unix milliseconds at which the engine took it.
    ingest_time_ms: int
    payload: bytes


class Gap(NamedTuple):
    """Messages that are gone. Reasons: overwritten, expired, damaged, lost."""

    first_sequence: int
    missing_count: int
    reason: str


_GAP_REASONS = {1: "overwritten", 2: "expired", 3: "damaged", 4: "lost"}


class _ConnectionLost(Exception):
    """The connection is of no use any more; another may be."""


def _status_error(status: int, text: str) -> MillraceError:
    return MillraceError(_STATUS_CODES.get(status, "INTERNAL"), text or f"The engine answered status {status}")


def _is_retryable(error: MillraceError) -> bool:
    return error.code in _RETRYABLE


def _backoff_seconds(attempt: int) -> float:
    """Full jitter over a range that doubles, so that clients do not come back all at once."""
    span: float = min(_BACKOFF_SECONDS_MAX, _BACKOFF_SECONDS_MIN * 2 ** min(attempt, 16))
    # Not `random`: forked processes share its state, and would all come back together.
    return _BACKOFF_SECONDS_MIN / 2 + span * (secrets.randbelow(1_000_000) / 1_000_000)


def _to_bytes(payload: Payload) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(f"a payload is bytes or str, not {type(payload).__name__}")


# Where the engine is


class _Address:
    """Where to connect and as whom. From arguments, else from the variables and files that the engine itself goes by."""

    def __init__(self, url: Optional[str], token: Optional[str]) -> None:
        if url is None:
            url = os.environ.get("MILLRACE_URL") or _default_url()
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None or parts.query:
            # URLs end in logs.
            raise MillraceError("INVALID_SETTING", "Cannot connect: a URL takes no user, password or query; pass the token as token")
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
            raise MillraceError("INVALID_SETTING", f"Cannot connect: the URL {url!r} must be ws://host:port or wss://host:port")
        self.is_tls = parts.scheme == "wss"
        self.host = parts.hostname
        self.port = port or (443 if self.is_tls else 80)
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.endpoint = f"{host}:{self.port}"
        self.is_loopback = _is_loopback(self.host)
        self._token = token

    def token(self) -> Optional[str]:
        """Asked for each connection: the file may be made, or changed, while a producer waits for its engine."""
        if self._token is not None:
            return self._token
        for name in ("MILLRACE_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"):
            if os.environ.get(name):
                return os.environ[name]
        # Another host has a store, and a token, of its own.
        return _read_token_file() if self.is_loopback else None


def _default_url() -> str:
    host = os.environ.get("MILLRACE_HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = os.environ.get("STREAM_MANAGER_SERVER_PORT") or "8088"
    # With a certificate the engine wants TLS from wherever it does not take plain connections.
    has_certificate = bool(os.environ.get("MILLRACE_TLS_CERTIFICATE"))
    plain_from = (os.environ.get("MILLRACE_PLAIN_FROM") or "loopback") if has_certificate else "anywhere"
    scheme = "ws" if plain_from == "anywhere" or (plain_from == "loopback" and _is_loopback(host)) else "wss"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    """By the address, not by how it begins: anybody may own the name 127.0.0.1.example."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_token_file() -> Optional[str]:
    store = os.environ.get("STREAM_MANAGER_STORE_ROOT_DIR")
    if not store:
        state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
        store = os.path.join(state, "millrace")
    path = os.path.join(store, "token")
    try:
        with open(path, encoding="ascii") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and status.st_mode & 0o077:
                raise MillraceError("STORE_UNUSABLE", f"Cannot trust {path}: others can read or change it")
            return file.read(4096).strip()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise MillraceError("UNAUTHORIZED", f"Cannot read the token: {error}") from None


# WebSocket


_mask_tables: Dict[int, bytes] = {}


def _mask_table(key: int) -> bytes:
    table = _mask_tables.get(key)
    if table is None:
        table = _mask_tables[key] = bytes(byte ^ key for byte in range(256))
    return table


def _masked(data: bytes, key: bytes) -> bytearray:
    """Every fourth byte at a time: twice as fast as one exclusive or of two large integers."""
    masked = bytearray(len(data))
    for offset in range(4):
        masked[offset::4] = data[offset::4].translate(_mask_table(key[offset]))
    return masked


class _Connection:
    """One WebSocket that does not block. Frames of the protocol go in and come out; pings are answered here."""

    def __init__(self, address: _Address, timeout: float = _CONNECT_SECONDS) -> None:
        token = address.token()
        self.has_received = False
        # Masking keeps a page's script from putting bytes of its choice in front of a proxy that does not know WebSocket
        # (RFC 6455 10.3). On loopback there is no proxy, and no page chooses these bytes: there the key may be zeros.
        self._is_masking = not address.is_loopback
        self._is_tls = address.is_tls
        self._out: Deque[memoryview] = collections.deque()
        self._in = bytearray()
        self._fragments: List[bytes] = []
        self._end: Optional[str] = None
        self._socket = self._open(address, token, timeout)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, head: bytes, body: Union[bytes, bytearray] = b"") -> None:
        """Queues one frame; `body` must stay as it is until it was sent."""
        self._queue(0x82, head, body)

    def flush(self) -> None:
        """Writes what the socket takes."""
        out = self._out
        gather = not self._is_tls and hasattr(self._socket, "sendmsg")
        try:
            while out:
                count = self._socket.sendmsg(list(itertools.islice(out, 64))) if gather else self._socket.send(out[0])
                while count > 0:
                    first = out.popleft()
                    if count < len(first):
                        out.appendleft(first[count:])
                        break
                    count -= len(first)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            raise _ConnectionLost(f"cannot send: {error}") from None

    def wait(self, seconds: float) -> bool:
        """Until something can be received, or sent where that is due; False when the time is over."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.wants_write else 0))
            return bool(selector.select(max(0.0, seconds)))

    def receive(self) -> List[bytes]:
        """What has arrived, perhaps nothing."""
        if self._end is not None:
            raise _ConnectionLost(self._end)
        frames: List[bytes] = []
        try:
            while True:
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    raise _ConnectionLost("the engine closed the connection")
                self.has_received = True
                self._parse(data, frames)
                # What TLS has decoded already does not show on the socket.
                if not self._is_tls or self._end is not None:
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise _ConnectionLost(f"cannot receive: {error}") from None
        if not frames and self._end is not None:
            raise _ConnectionLost(self._end)
        return frames

    def close(self) -> None:
        """Says so to the engine if that takes no waiting."""
        try:
            self._queue(0x88, struct.pack(">H", 1000))
            self.flush()
        except _ConnectionLost:
            pass
        self.abandon()

    def abandon(self) -> None:
        """Lets go of the socket without a word: in a forked process it is another's."""
        self._out.clear()
        try:
            self._socket.close()
        except OSError:
            pass

    def _queue(self, first_byte: int, head: bytes, body: Union[bytes, bytearray] = b"") -> None:
        size = len(head) + len(body)
        key = os.urandom(4) if self._is_masking else b"\0\0\0\0"
        if size < 126:
            start = struct.pack(">BB", first_byte, 0x80 | size) + key
        elif size < 65536:
            start = struct.pack(">BBH", first_byte, 0xFE, size) + key
        else:
            start = struct.pack(">BBQ", first_byte, 0xFF, size) + key
        if self._is_masking:
            self._out.append(memoryview(start + _masked(head + body, key)))
            return
        self._out.append(memoryview(start + head))
        if body:
            self._out.append(memoryview(body))

    def _parse(self, data: bytes, frames: List[bytes]) -> None:
        buffer = self._in
        buffer += data
        at = 0
        while self._end is None:
            left = len(buffer) - at
            if left < 2:
                break
            first, length = buffer[at], buffer[at + 1]
            start = at + 2
            if length == 126:
                if left < 4:
                    break
                (length,) = struct.unpack_from(">H", buffer, start)
                start += 2
            elif length == 127:
                if left < 10:
                    break
                (length,) = struct.unpack_from(">Q", buffer, start)
                start += 8
            elif length > 127:
                raise _ConnectionLost("the engine masks what it sends")
            if first & 0x70 or length > _FRAME_BYTES_MAX:
                raise _ConnectionLost("the engine sends what is no WebSocket frame")
            if len(buffer) - start < length:
                break
            with memoryview(buffer) as view:
                payload = bytes(view[start : start + length])
            at = start + length
            self._take(first, payload, frames)
        del buffer[:at]

    def _take(self, first: int, payload: bytes, frames: List[bytes]) -> None:
        opcode = first & 0x0F
        if opcode == 9:
            self._queue(0x8A, payload)
        elif opcode == 8:
            code = struct.unpack_from(">H", payload)[0] if len(payload) >= 2 else 1005
            self._end = f"the engine closed the connection: {code} {payload[2:].decode('utf-8', 'replace')}".rstrip()
        elif opcode in (0, 2):
            if first & 0x80 and not self._fragments and payload:
                frames.append(payload)
                return
            self._fragments.append(payload)
            if sum(map(len, self._fragments)) > _FRAME_BYTES_MAX:
                raise _ConnectionLost("the engine sends too large a frame")
            if first & 0x80:
                frame = b"".join(self._fragments)
                self._fragments = []
                if not frame:
                    raise _ConnectionLost("the engine sends a frame without an operation")
                frames.append(frame)
        elif opcode != 10:
            raise _ConnectionLost(f"the engine sends a WebSocket frame of kind {opcode}")

    def _open(self, address: _Address, token: Optional[str], timeout: float) -> socket.socket:
        deadline = time.monotonic() + timeout
        opened: Optional[socket.socket] = None
        try:
            opened = socket.create_connection((address.host, address.port), timeout)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.is_tls:
                # Authorities of one's own take the place of the system's, as for the engine's commands.
                context = ssl.create_default_context(cafile=os.environ.get("MILLRACE_TLS_AUTHORITIES") or None)
                opened = context.wrap_socket(opened, server_hostname=address.host)
            self._shake_hands(opened, address, token, deadline)
            return opened
        except ssl.SSLCertVerificationError as error:
            text = f"Cannot connect to {address.endpoint}: {error.verify_message}"
            failure = MillraceError("CERTIFICATE_REFUSED", text)
        except (OSError, ValueError) as error:
            failure = MillraceError("CONNECT_FAILED", f"Cannot connect to {address.endpoint}: {error}")
        except MillraceError as error:
            failure = error
        if opened is not None:
            opened.close()
        raise failure

    def _shake_hands(self, opened: socket.socket, address: _Address, token: Optional[str], deadline: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /v1/ws HTTP/1.1",
            f"Host: {address.endpoint}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Protocol: millrace.v1",
        ]
        if token:
            if not token.isascii() or not token.isprintable():
                raise MillraceError("UNAUTHORIZED", "Cannot connect: the token holds characters that no token has")
            lines.append(f"Authorization: Bearer {token}")
        opened.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            opened.settimeout(max(0.001, deadline - time.monotonic()))
            data = opened.recv(4096)
            if not data or len(answer) > 65536:
                raise OSError("the connection ended before the WebSocket was open")
            answer += data
        head, _, rest = bytes(answer).partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        words = status_line.split(" ", 2)
        status = words[1] if len(words) > 1 and words[0].startswith("HTTP/") else ""
        if status != "101":
            reason = rest.decode("utf-8", "replace").strip()[:200]
            raise _handshake_refusal(address.endpoint, status, bool(token), reason)
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        expected = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        if headers.get("sec-websocket-accept") != expected or headers.get("sec-websocket-protocol") != "millrace.v1":
            raise OSError("what listens there is no Millrace")
        leftover: List[bytes] = []
        self._parse(rest, leftover)
        if leftover:
            raise OSError("frames came before anything was asked")


def _handshake_refusal(endpoint: str, status: str, has_token: bool, reason: str) -> MillraceError:
    text = f"Cannot connect to {endpoint}: "
    if status == "401":
        text += "the token was refused" if has_token else "a token is needed and none was found"
        return MillraceError("UNAUTHORIZED", text)
    if status == "403":
        return MillraceError("UNAUTHORIZED", f"{text}refused ({reason})")
    if status in ("400", "404"):
        return MillraceError("UNSUPPORTED_PROTOCOL", f"{text}HTTP status {status} ({reason})")
    return MillraceError("CONNECT_FAILED", f"{text}HTTP status {status or 'missing'} ({reason})")


# Frames


def _open_stream_frame(request_id: int, stream: str) -> bytes:
    name = stream.encode()
    return struct.pack("<BBHIH", _OPEN_STREAM, 0, 0, request_id, len(name)) + name


def _document_frame(operation: int, request_id: int, stream: str, document: bytes) -> bytes:
    name = stream.encode()
    return _DOCUMENT_HEAD.pack(operation, 0, len(name), request_id, len(document)) + name + document


class _Opened(NamedTuple):
    request_id: int
    error: Optional[MillraceError]
    handle: int
    next_sequence: int


def _read_opened(frame: bytes) -> _Opened:
    _, status, text_bytes, request_id, handle, next_sequence = _OPEN_RESULT.unpack_from(frame)
    error = _status_error(status, frame[20 : 20 + text_bytes].decode()) if status else None
    return _Opened(request_id, error, handle, next_sequence)


def _read_document(frame: bytes) -> Tuple[int, Optional[MillraceError], bytes]:
    _, status, text_bytes, request_id, document_bytes = _DOCUMENT_HEAD.unpack_from(frame)
    error = _status_error(status, frame[12 : 12 + text_bytes].decode()) if status else None
    return request_id, error, frame[12 + text_bytes : 12 + text_bytes + document_bytes]


# Producer


class _Batch:
    __slots__ = ("block", "body", "count", "is_in_doubt", "is_settled", "number", "producer_id", "sent", "serial")

    def __init__(self, body: bytes, count: int, serial: int) -> None:
        self.body = body
        # What is sent of it, given when it is sent first: `body` itself, or that as an LZ4 block.
        self.block = body
        self.count = count
        # Order of sealing.
        self.serial = serial
        # Given when it is sent first; 0: not yet.
        self.producer_id = 0
        self.number = 0
        self.sent = 0
        # Whether a copy was sent of which nobody told whether it was stored.
        self.is_in_doubt = False
        self.is_settled = False

    def messages(self) -> List[bytes]:
        messages: List[bytes] = []
        at = 0
        for _ in range(self.count):
            (length,) = _U32.unpack_from(self.body, at)
            messages.append(self.body[at + 4 : at + 4 + length])
            at += 4 + length
        return messages


class _Packer:
    """Compresses batches where it pays: what hardly shrinks is sent as it is, and tried only now and then."""

    def __init__(self, is_local: bool) -> None:
        self._bytes_min = _COMPRESSED_LOCAL_BYTES_MIN if is_local else _COMPRESSED_BYTES_MIN
        try:
            import lz4.block
        except ImportError as error:
            text = 'Cannot make producer: compression "lz4" needs the package lz4 (pip install lz4)'
            raise MillraceError("INVALID_SETTING", f"{text}: {error}") from None
        self._compress: Callable[..., bytes] = lz4.block.compress
        self._futile_tries = 0
        self._skipped = 0

    def pack(self, body: bytes) -> bytes:
        if not self._bytes_min <= len(body) <= _COMPRESSED_BYTES_MAX:
            return body
        if self._futile_tries >= _FUTILE_TRIES_MAX:
            self._skipped += 1
            if self._skipped < _PROBE_BATCHES:
                return body
        self._skipped = 0
        block = self._compress(body, store_size=False)
        if len(block) > len(body) * _COMPRESSED_SHARE_MAX:
            self._futile_tries += 1
            return body
        self._futile_tries = 0
        return block


class _Numbers:
    """The numbers of a producer's batches, by which the engine knows one that is sent again.

    It stores only the next one, and what it refuses keeps its number; so when a batch fails, those sent behind it are
    refused as gaps. Then nothing is sent until all is answered, which ends the round, and what is left is sent again from
    the failed one on. A gap says which number the engine expects: what has that number or a higher one is not stored, and
    is numbered anew from there. If the engine does not know the producer any more, it goes on under another id. A batch in
    doubt cannot go along, because only its old number would have told whether it is stored; but the end of the stream may
    tell that none is. It is asked for after the gap: from then on no copy that comes late over an older connection is taken.
    """

    def __init__(self) -> None:
        self._id = self._new_id()
        self._next = 0
        self._acknowledged = -1
        # The stream's sequence number behind the newest batch that was acknowledged.
        self._stored_end = 0
        self._failed_serial: Optional[int] = None
        self._expected: Optional[int] = None
        self._freed: Optional[int] = None
        self._is_forgotten = False
        # It was said so and not settled yet, perhaps over a connection that is gone: batches go one by one, so that a line that
        # breaks often is whole for long enough.
        self.is_suspect = False
        self._is_none_stored: Optional[bool] = None
        self._gaps_in_a_row = 0

    @staticmethod
    def _new_id() -> int:
        return 1 + secrets.randbelow(2**53 - 1)

    @property
    def is_round_over(self) -> bool:
        return self._failed_serial is not None

    def number(self, batch: _Batch) -> None:
        if batch.producer_id == 0:
            self._assign(batch)

    def note_acknowledged(self, batch: _Batch, first_sequence: int) -> None:
        self._gaps_in_a_row = 0
        self.is_suspect = False
        if batch.number > self._acknowledged:
            self._acknowledged = batch.number
            self._stored_end = first_sequence + batch.count

    @property
    def needs_end(self) -> bool:
        """The producer is forgotten, and the stream is to be opened to see where it ends."""
        return self._is_forgotten and self._is_none_stored is None

    def note_opened(self, next_sequence: int) -> None:
        """If the stream ends where the newest acknowledged batch ends, or before, no later one is stored."""
        if self._is_forgotten:
            self._is_none_stored = next_sequence <= self._stored_end

    def note_disconnected(self) -> None:
        """That the producer is forgotten is told again over the next connection, if it is so."""
        if not self._is_forgotten:
            return
        self._expected = None
        self._is_forgotten = False
        self._is_none_stored = None
        # Not an engine that does not keep to its own numbers: the line broke before it was heard out.
        self._gaps_in_a_row = 0

    def note_failed(self, batch: _Batch) -> None:
        """It is sent again as it is."""
        if self._failed_serial is None or batch.serial < self._failed_serial:
            self._failed_serial = batch.serial

    def note_given_up(self, batch: _Batch) -> None:
        """If it is certain that it is not stored, its number goes to the next one; else a gap will tell."""
        self.note_failed(batch)
        if not batch.is_in_doubt and (self._freed is None or batch.number < self._freed):
            self._freed = batch.number

    def note_gap(self, batch: _Batch, expected: int) -> bool:
        """False when this has gone on for too long: the batch is to be given up."""
        is_first = self._failed_serial is None or batch.serial < self._failed_serial
        self.note_failed(batch)
        self._expected = expected
        if expected == 0 and self._acknowledged >= 0:
            self._is_forgotten = self.is_suspect = True
        elif expected <= batch.number:
            batch.is_in_doubt = False
        if is_first:
            self._gaps_in_a_row += 1
        if self._gaps_in_a_row <= _GAPS_IN_A_ROW_MAX:
            return True
        self._gaps_in_a_row = 0
        return False

    def end_round(self, batches: Iterable[_Batch]) -> List[_Batch]:
        """All was answered, or the connection is gone. Gives those of `batches` that cannot be sent again."""
        expected = self._freed if self._expected is None else self._expected
        self._failed_serial = self._expected = self._freed = None
        if expected is None:
            return []
        is_forgotten = self._is_forgotten
        # From this number on nothing is stored. Below it is what an acknowledgement went ahead of.
        sure_from = self._acknowledged + 1 if self._is_none_stored else None
        if is_forgotten:
            self._id = self._new_id()
            self._acknowledged = -1
            self._stored_end = 0
            self._is_forgotten = self.is_suspect = False
            self._is_none_stored = None
        unsendable: List[_Batch] = []
        self._next = expected
        for batch in batches:
            # Below what is expected it is stored, as far as is known: its number will tell.
            if batch.producer_id == 0 or (not is_forgotten and batch.number < expected):
                continue
            if is_forgotten and batch.is_in_doubt and (sure_from is None or batch.number < sure_from):
                unsendable.append(batch)
                continue
            batch.is_in_doubt = False
            self._assign(batch)
        return unsendable

    def _assign(self, batch: _Batch) -> None:
        batch.producer_id = self._id
        batch.number = self._next
        self._next += 1


class Producer:
    """Appends to one stream at a high rate. May be used by many threads.

    `append` copies a message into a batch and returns; a thread sends batches that are full, or `linger_ms` old. What it holds,
    unsent and unanswered, is at most `memory_bytes`; then `append` waits (`when_full="block"`), returns False ("drop") or raises
    BufferFull ("raise"). What was on its way when the connection broke is sent again, over as many connections and starts of
    the engine as it takes, and is stored exactly once and in order, or reported: to `on_rejected`, which the thread calls with
    a Rejection, or without one by stopping the producer, so that the next `append` or `flush` raises the reason. `on_rejected`
    must not wait for the producer, as `flush` and an `append` that blocks do: it is the producer's thread that it would stop.

    The constructor waits up to `connect_timeout` seconds until the stream is open, and raises what prevented it; 0 does not
    wait. `create=True` makes the stream if there is none, with the engine's defaults; a mapping gives fields of its definition.
    `url` and `token` are found as the engine's own commands find them: see the README.

    `compression="lz4"` compresses batches before they are sent and needs the package lz4; what does not shrink is sent as it is,
    and to an engine on the same machine what has less than 48 KiB. `batch_bytes` is 64 KiB by default, with compression 256 KiB.

    Use it as a context manager, or call `close`. When the interpreter ends, what is left is sent for up to `exit_timeout`
    seconds, and a warning logged if that was too short. In a forked child the producer begins anew, under another id and with
    nothing of what it held, which is the parent's.
    """

    def __init__(
        self,
        stream: str,
        *,
        url: Optional[str] = None,
        token: Optional[str] = None,
        create: Union[bool, Mapping[str, Any]] = False,
        batch_bytes: Optional[int] = None,
        linger_ms: float = 2,
        memory_bytes: int = 16 * 1024 * 1024,
        when_full: str = "block",
        in_flight_max: int = _IN_FLIGHT_BATCHES_MAX,
        compression: str = "none",
        on_rejected: Optional[Callable[[Rejection], None]] = None,
        connect_timeout: float = 5.0,
        exit_timeout: float = 5.0,
    ) -> None:
        if compression not in ("none", "lz4"):
            raise MillraceError("INVALID_SETTING", f'Cannot make producer: compression is {compression!r}, must be "none" or "lz4"')
        if batch_bytes is None:
            batch_bytes = _BATCH_BYTES_DEFAULT if compression == "none" else _COMPRESSED_BATCH_BYTES_DEFAULT
        _check_range("batch_bytes", batch_bytes, 64, _BATCH_BYTES_MAX)
        _check_range("linger_ms", linger_ms, 0, 60_000)
        _check_range("memory_bytes", memory_bytes, 2 * batch_bytes, 2**40)
        _check_range("in_flight_max", in_flight_max, 1, _IN_FLIGHT_BATCHES_MAX)
        if when_full not in ("block", "drop", "raise"):
            raise MillraceError("INVALID_SETTING", f"Cannot make producer: when_full is {when_full!r}, must be block, drop or raise")
        self.stream = stream
        self._address = _Address(url, token)
        self._create = create
        self._packer = _Packer(self._address.is_loopback) if compression == "lz4" else None
        self._batch_bytes = batch_bytes
        self._linger = linger_ms / 1000
        self._memory_bytes = memory_bytes
        # Waiting appends go on when a good part is free: one at a time would cost a change of threads each.
        self._resume_bytes = memory_bytes * 3 // 4
        self._when_full = when_full
        self._in_flight_max = in_flight_max
        self._on_rejected = on_rejected
        self._exit_timeout = exit_timeout
        self._is_closed = False
        self._begin()
        _producers.add(self)
        with self._lock:
            self._start_thread()
        if connect_timeout <= 0:
            return
        if not self._wait(self._answer_waiters, lambda: self._was_open or self._is_over, connect_timeout):
            self._stop(self._last_error or MillraceError("CONNECT_FAILED", f"Cannot connect within {connect_timeout} s"))
        if self._failure is not None:
            self._is_closed = True
            self._stop(self._failure)
            raise self._failure

    def _begin(self) -> None:
        """The state of a producer that has done nothing yet: in the constructor, and in a forked child."""
        self._lock = threading.Lock()

        # Under _lock. What the program's threads write is changed by steps after each of which an exception may come, out of
        # a signal's handler: a message is in or not, and a batch is sealed or not, by one of them.
        # The batch being filled: lengths and payloads in turn.
        self._parts: List[bytes] = []
        self._serial = 0
        self._room = -1
        # Sealed batches, until the thread takes them over.
        self._sealed: Deque[_Batch] = collections.deque()
        self._sealed_bytes = 0
        self._dropped = 0
        # Those who wait, each for a lock of its own.
        self._room_waiters: List[threading.Lock] = []
        self._answer_waiters: List[threading.Lock] = []
        # In order; settled ones leave when they are in front.
        self._unsettled: Deque[_Batch] = collections.deque()
        self._held_bytes = 0
        self._adopted_serial = 0
        self._adopted_messages = 0
        self._failure: Optional[MillraceError] = None
        # Nothing is sent any more.
        self._is_over = False
        self._was_open = False
        self._last_error: Optional[MillraceError] = None

        # Of the thread that sends.
        self._thread: Optional[threading.Thread] = None
        self._wake_sockets: Optional[Tuple[socket.socket, socket.socket]] = None
        # The thread sleeps until it is woken, or, when it ticks, until it looks for messages by itself.
        self._is_sleeping = False
        self._is_ticking = False
        self._connection: Optional[_Connection] = None
        self._handle: Optional[int] = None
        self._open_request = 0
        self._create_request = 0
        self._create_error: Optional[MillraceError] = None
        self._asked_at = 0.0
        self._request_id = 0
        self._numbers = _Numbers()
        self._queue: Deque[_Batch] = collections.deque()
        self._in_flight: Dict[int, _Batch] = {}
        self._in_flight_bytes = 0
        self._returned: List[_Batch] = []
        self._heard_at = 0.0
        self._retry_at = 0.0
        self._retry_attempt = 0
        self._acknowledged = 0
        self._rejected = 0
        self._resent = 0
        self._sent_bytes = 0

    # For the program.

    def append(self, payload: Payload) -> bool:
        """Takes one message, text as UTF-8. True when it was taken, which does not mean stored: see `flush`; False when dropped.

        Raises BufferFull, the refusal that stopped the producer, INVALID_REQUEST for an empty message, MESSAGE_TOO_LARGE.
        """
        if type(payload) is not bytes:
            payload = _to_bytes(payload)
        size = len(payload)
        with self._lock:
            if 0 < size <= self._room and len(self._parts) < _BATCH_PARTS_MAX:
                self._room -= size + 4
                self._parts += (_LENGTHS[size] if size < _SHORT else _U32.pack(size), payload)
                return True
        return self._append_slowly(payload)

    def append_many(self, payloads: Iterable[Payload]) -> int:
        """Takes messages as `append` does, at less cost each. Gives how many were taken; fewer only when dropping.

        They need not form one batch: some may be stored where others are refused. After an exception `counters` tells how
        many were taken.
        """
        taken = 0
        iterator = iter(payloads)
        while True:
            # Outside the lock, since a generator may do anything.
            chunk = [payload if type(payload) is bytes else _to_bytes(payload) for payload in itertools.islice(iterator, 1024)]
            if not chunk:
                return taken
            at = 0
            while at < len(chunk):
                start = at
                at = self._append_some(chunk, start)
                taken += at - start
                if at < len(chunk):
                    taken += self._append_slowly(chunk[at])
                    at += 1

    def flush(self, timeout: Optional[float] = None) -> None:
        """Sends what was taken and waits until all of it is answered.

        Raises the refusal that stopped the producer, or TIMEOUT after `timeout` seconds; the producer goes on then.
        """
        with self._lock:
            self._seal()
            self._wake()
            target = self._newest_serial()
        is_done = self._wait(self._answer_waiters, lambda: self._lowest_serial() > target, timeout)
        if self._failure is not None:
            raise self._failure
        if not is_done:
            with self._lock:
                left = sum(batch.count for batch in (*self._unsettled, *self._sealed) if batch.serial <= target)
            raise MillraceError("TIMEOUT", f'{left} messages to "{self.stream}" were not answered within {timeout} s')

    def close(self, timeout: Optional[float] = 30.0) -> None:
        """Flushes and gives the producer up. Raises as `flush` does; the producer is closed all the same."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._seal()
            _let_go(self._room_waiters)
        try:
            self.flush(timeout)
        finally:
            self._stop(MillraceError("CONNECTION_CLOSED", "The producer was closed before an answer came"))
            _producers.discard(self)

    @property
    def counters(self) -> Counters:
        with self._lock:
            filling = len(self._parts) // 2 if self._newest_serial() < self._serial else 0
            appended = self._adopted_messages + sum(batch.count for batch in self._sealed) + filling
            done = (self._acknowledged, self._rejected, self._dropped, self._resent)
            return Counters(appended, *done, self._newest_serial(), self._sent_bytes)

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The rest of append.

    def _append_slowly(self, payload: bytes) -> bool:
        size = len(payload)
        if not 0 < size <= _MESSAGE_BYTES_MAX:
            code = "MESSAGE_TOO_LARGE" if size else "INVALID_REQUEST"
            text = f'Cannot append to "{self.stream}": a message of {size} bytes, must be 1 to {_MESSAGE_BYTES_MAX}'
            raise MillraceError(code, text)
        capacity = max(self._batch_bytes, size + 4)

        def may_go_on() -> bool:
            held = self._held_bytes + self._sealed_bytes
            has_room = held <= self._resume_bytes and held + capacity <= self._memory_bytes
            return held == 0 or has_room or self._is_closed or self._failure is not None

        while True:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                if self._is_closed:
                    raise MillraceError("INVALID_REQUEST", f'Cannot append to "{self.stream}": the producer was closed')
                if self._thread is None:
                    self._start_thread()
                # Another thread may have begun a batch meanwhile.
                has_batch = size <= self._room and len(self._parts) < _BATCH_PARTS_MAX
                if not has_batch:
                    self._seal()
                    held = self._held_bytes + self._sealed_bytes
                    if held == 0 or held + capacity <= self._memory_bytes:
                        self._serial = self._newest_serial() + 1
                        self._room = capacity - 4
                        if not self._is_ticking:
                            self._wake()
                        has_batch = True
                if has_batch:
                    self._room -= size + 4
                    self._parts += (_U32.pack(size), payload)
                    return True
                if self._when_full == "drop":
                    self._dropped += 1
                    return False
                if self._when_full == "raise":
                    text = f'Cannot append to "{self.stream}": {held} bytes are unanswered, the maximum is {self._memory_bytes}'
                    raise BufferFull("BUFFER_FULL", text)
            self._wait(self._room_waiters, may_go_on, None)

    def _append_some(self, payloads: Sequence[bytes], at: int) -> int:
        """Copies messages while the batch has room. Gives where it stopped."""
        with self._lock:
            parts, room = self._parts, self._room
            limit = min(len(payloads), at + (_BATCH_PARTS_MAX - len(parts)) // 2)
            try:
                while at < limit:
                    payload = payloads[at]
                    size = len(payload)
                    if not 0 < size <= room:
                        break
                    room -= size + 4
                    parts += (_LENGTHS[size] if size < _SHORT else _U32.pack(size), payload)
                    at += 1
            finally:
                self._room = room
        return at

    def _seal(self) -> None:
        """Ends the batch being filled, under _lock."""
        self._room = -1
        if not self._parts:
            return
        # Else it was sealed, and an exception kept the parts from going.
        if self._newest_serial() < self._serial:
            batch = _Batch(b"".join(self._parts), len(self._parts) // 2, self._serial)
            self._sealed.append(batch)
            self._sealed_bytes += len(batch.body)
        self._parts = []
        self._wake()

    def _adopt(self) -> None:
        """Takes sealed batches over, under _lock."""
        while self._sealed:
            batch = self._sealed[0]
            self._unsettled.append(batch)
            self._queue.append(batch)
            self._held_bytes += len(batch.body)
            self._adopted_messages += batch.count
            self._adopted_serial = batch.serial
            self._sealed.popleft()
        self._sealed_bytes = 0

    def _newest_serial(self) -> int:
        return self._sealed[-1].serial if self._sealed else self._adopted_serial

    def _lowest_serial(self) -> float:
        for batches in (self._unsettled, self._sealed):
            if batches:
                return batches[0].serial
        return float("inf")

    def _wait(self, waiters: List[threading.Lock], condition: Callable[[], bool], timeout: Optional[float]) -> bool:
        """Waits without _lock until `condition` holds under it; False when the time is over.

        Not a Condition: when a signal's handler raises, that may come back without its lock.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            waiter = threading.Lock()
            waiter.acquire()
            with self._lock:
                if condition():
                    return True
                waiters.append(waiter)
            left = deadline - time.monotonic()
            try:
                if left <= 0:
                    return False
                # Now and then it looks by itself, whatever became of who should let the lock go.
                waiter.acquire(timeout=min(left, 1.0))
            finally:
                with self._lock:
                    if waiter in waiters:
                        waiters.remove(waiter)

    def _wake(self) -> None:
        if not self._is_sleeping or self._wake_sockets is None:
            return
        self._is_sleeping = False
        try:
            self._wake_sockets[1].send(b"\0")
        except OSError:
            pass

    def _start_thread(self) -> None:
        self._wake_sockets = socket.socketpair()
        for end in self._wake_sockets:
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"millrace {self.stream}", daemon=True)
        self._thread.start()
        _flush_at_end_of_child()

    def _stop(self, error: MillraceError) -> None:
        """Ends the thread; what is left is reported."""
        with self._lock:
            self._is_over = True
            self._is_sleeping = True
            self._wake()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CONNECT_SECONDS)
        self._fail(error)
        with self._lock:
            wake_sockets, self._wake_sockets = self._wake_sockets, None
        # A thread that still tries to connect does without: it looks whether it is over first.
        for end in wake_sockets or ():
            end.close()

    # The thread.

    def _run(self) -> None:
        attempt = 0
        try:
            while not self._is_over:
                try:
                    connection = _Connection(self._address)
                except MillraceError as error:
                    # A certificate may be renewed while a producer that was connected waits.
                    if not _is_retryable(error) and not (self._was_open and error.code == "CERTIFICATE_REFUSED"):
                        raise
                    self._last_error = error
                    self._pause(_backoff_seconds(attempt))
                    attempt += 1
                    continue
                self._connection = connection
                try:
                    self._serve(connection)
                except (_ConnectionLost, struct.error, UnicodeDecodeError) as lost:
                    _log.debug("connection of the producer of %r lost: %s", self.stream, lost)
                    self._last_error = MillraceError("CONNECT_FAILED", f"Connection to {self._address.endpoint} lost: {lost}")
                finally:
                    self._connection = None
                    connection.close()
                    self._return_all()
                if connection.has_received:
                    attempt = 0
                if not self._is_over:
                    self._pause(_backoff_seconds(attempt))
                    attempt += 1
        except MillraceError as error:
            self._fail(error)
        except BaseException as error:
            _log.exception("the producer of %r failed", self.stream)
            self._fail(MillraceError("INTERNAL", f"The producer failed: {error!r}"))

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._is_sleeping = self._is_ticking = False
        deadline = time.monotonic() + seconds
        while not self._is_over and (left := deadline - time.monotonic()) > 0:
            with self._lock:
                self._adopt()
            time.sleep(min(left, 0.05))

    def _serve(self, connection: _Connection) -> None:
        """Sends and hears until the connection breaks or the producer is over."""
        if self._is_over or self._wake_sockets is None:
            return
        wake = self._wake_sockets[0]
        self._handle = None
        self._heard_at = time.monotonic()
        self._open(connection)
        next_tick = active_until = 0.0
        is_writing = False
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                with self._lock:
                    if self._is_over:
                        return
                    if self._parts or self._sealed or self._in_flight or self._queue:
                        active_until = now + _ACTIVE_SECONDS
                    if now >= next_tick:
                        # A message waits for the next tick, so no longer than the linger time.
                        self._seal()
                        next_tick = now + self._linger
                    self._adopt()
                self._pump(connection, now)
                if connection.wants_write:
                    connection.flush()
                if connection.wants_write != is_writing:
                    is_writing = not is_writing
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_writing else 0)
                    selector.modify(connection, events)
                for key, events in selector.select(self._plan(now, next_tick, active_until)):
                    if key.fileobj is wake:
                        wake.recv(4096)
                        # Woken for the first message after a pause: others may follow.
                        if now >= active_until:
                            next_tick = time.monotonic() + self._linger
                    elif events & selectors.EVENT_READ:
                        for frame in connection.receive():
                            self._on_frame(frame, connection)
                self._is_sleeping = False

    def _plan(self, now: float, next_tick: float, active_until: float) -> Optional[float]:
        """How long the thread may sleep, in seconds; None: until it is woken."""
        with self._lock:
            is_waiting = self._handle is None or now < self._retry_at or self._numbers.is_round_over
            is_sendable = not is_waiting and self._may_send()
            has_batches = bool(self._queue or self._sealed)
            if self._is_over or (has_batches and is_sendable):
                return 0
            timeouts: List[float] = []
            self._is_ticking = self._linger > 0 and now < active_until
            if self._is_ticking or self._parts:
                timeouts.append(next_tick - now)
            if (has_batches or self._returned or self._handle is None) and now < self._retry_at:
                timeouts.append(self._retry_at - now)
            if self._in_flight or self._open_request:
                timeouts.append(self._heard_at + _ANSWER_SECONDS - now)
            self._is_sleeping = True
            return max(0.0, min(timeouts)) if timeouts else None

    def _pump(self, connection: _Connection, now: float) -> None:
        """Sends what may be sent."""
        if (self._in_flight or self._open_request) and now - self._heard_at >= _ANSWER_SECONDS:
            # A peer can vanish without a word.
            raise _ConnectionLost(f"no answer within {_ANSWER_SECONDS:.0f} s")
        if self._numbers.is_round_over:
            if self._in_flight:
                return
            if self._numbers.needs_end:
                if self._open_request == 0 and now >= self._retry_at:
                    self._open(connection)
                return
            self._end_round()
        if now < self._retry_at:
            return
        if self._handle is None:
            if self._open_request == 0:
                self._open(connection)
            return
        while self._may_send():
            if not self._queue:
                return
            batch = self._queue.popleft()
            if not self._in_flight:
                self._heard_at = now
            self._numbers.number(batch)
            if batch.sent > 0:
                self._resent += batch.count
            elif self._packer is not None:
                batch.block = self._packer.pack(batch.body)
            batch.sent += 1
            request_id = self._next_request()
            self._in_flight[request_id] = batch
            self._in_flight_bytes += len(batch.body)
            flags = _FLAG_PRODUCER if batch.block is batch.body else _FLAG_PRODUCER | _FLAG_LZ4
            head = _APPEND_HEAD.pack(
                _APPEND_BATCH, flags, 0, self._handle, request_id, len(batch.body), batch.count, batch.producer_id, batch.number
            )
            self._sent_bytes += len(head) + len(batch.block)
            connection.send(head, batch.block)

    def _may_send(self) -> bool:
        in_flight_max = 1 if self._numbers.is_suspect else self._in_flight_max
        return len(self._in_flight) < in_flight_max and self._in_flight_bytes < _IN_FLIGHT_BYTES_MAX

    def _next_request(self) -> int:
        self._request_id = self._request_id % 0xFFFFFFFF + 1
        return self._request_id

    def _open(self, connection: _Connection) -> None:
        self._open_request = self._next_request()
        self._heard_at = time.monotonic()
        connection.send(_open_stream_frame(self._open_request, self.stream))

    def _on_frame(self, frame: bytes, connection: _Connection) -> None:
        operation = frame[0]
        if operation == _APPEND_BATCH_RESULT:
            self._on_results(frame)
        elif operation == _OPEN_STREAM_RESULT:
            opened = _read_opened(frame)
            if opened.request_id == self._open_request:
                self._open_request = 0
                self._on_opened(opened, connection)
        elif operation == _CREATE_STREAM + 1:
            request_id, self._create_error, _ = _read_document(frame)
            if request_id == self._create_request:
                # Another may have been faster: opening tells.
                self._open(connection)

    def _on_opened(self, opened: _Opened, connection: _Connection) -> None:
        self._heard_at = time.monotonic()
        error = opened.error
        if error is None:
            self._handle = opened.handle
            self._numbers.note_opened(opened.next_sequence)
            with self._lock:
                self._was_open = True
                _let_go(self._answer_waiters)
        elif error.code == "STREAM_NOT_FOUND" and self._create is not False and not self._was_open and self._create_request == 0:
            definition = {} if self._create is True else dict(self._create)
            document = json.dumps({"definition": definition}).encode()
            self._create_request = self._open_request = self._next_request()
            connection.send(_document_frame(_CREATE_STREAM, self._create_request, self.stream, document))
        elif _is_retryable(error):
            self._last_error = error
            self._retry_later()
        else:
            raise self._create_error or error

    def _on_results(self, frame: bytes) -> None:
        (count,) = struct.unpack_from("<H", frame, 2)
        text_at = 4 + 16 * count
        settled: List[_Batch] = []
        rejections: List[Tuple[_Batch, MillraceError]] = []
        self._heard_at = time.monotonic()
        try:
            for at in range(4, text_at, 16):
                request_id, status, first_sequence = _APPEND_RESULT.unpack_from(frame, at)
                batch = self._in_flight.pop(request_id, None)
                if batch is None:
                    raise _ConnectionLost(f"an answer to the unknown append {request_id}")
                self._in_flight_bytes -= len(batch.body)
                if status == 0:
                    self._retry_attempt = 0
                    self._acknowledged += batch.count
                    self._numbers.note_acknowledged(batch, first_sequence)
                    settled.append(batch)
                    continue
                (text_bytes,) = struct.unpack_from("<H", frame, text_at)
                text = frame[text_at + 2 : text_at + 2 + text_bytes].decode()
                text_at += 2 + text_bytes
                error = _status_error(status, text)
                if error.code in _RESEND:
                    if error.code == "UNKNOWN_HANDLE":
                        self._handle = None
                    if error.code == "UNKNOWN_OUTCOME":
                        batch.is_in_doubt = True
                    self._numbers.note_failed(batch)
                    self._returned.append(batch)
                    self._retry_later()
                elif error.code == "SEQUENCE_GAP" and self._numbers.note_gap(batch, first_sequence):
                    self._returned.append(batch)
                else:
                    if error.code in _NOT_STORED:
                        batch.is_in_doubt = False
                    self._numbers.note_given_up(batch)
                    rejections.append((batch, error))
        finally:
            # Of a frame that turns out to be none, what was read counts.
            self._settle(settled)
            self._reject(rejections)

    def _retry_later(self) -> None:
        now = time.monotonic()
        if now >= self._retry_at:
            self._retry_at = now + _backoff_seconds(self._retry_attempt)
            self._retry_attempt += 1

    def _return_all(self) -> None:
        """The connection is gone, and everything on its way with it."""
        self._handle = None
        self._open_request = self._create_request = 0
        self._numbers.note_disconnected()
        for batch in self._in_flight.values():
            batch.is_in_doubt = True
            self._returned.append(batch)
        self._in_flight.clear()
        self._in_flight_bytes = 0
        self._end_round()

    def _end_round(self) -> None:
        """What failed is to be sent again; of what cannot be, nobody can tell any more whether it is stored."""
        with self._lock:
            self._returned.sort(key=lambda batch: batch.serial, reverse=True)
            self._queue.extendleft(self._returned)
            self._returned = []
            unsendable = self._numbers.end_round(self._queue)
            if unsendable:
                gone = set(map(id, unsendable))
                self._queue = collections.deque(batch for batch in self._queue if id(batch) not in gone)
        text = f'Cannot tell whether messages are stored in "{self.stream}": it does not know their producer any more'
        self._reject([(batch, MillraceError("SEQUENCE_GAP", text)) for batch in unsendable])

    def _settle(self, batches: Sequence[_Batch]) -> None:
        if not batches:
            return
        with self._lock:
            for batch in batches:
                batch.is_settled = True
                self._held_bytes -= len(batch.body)
            while self._unsettled and self._unsettled[0].is_settled:
                self._unsettled.popleft()
            _let_go(self._answer_waiters)
            if self._held_bytes + self._sealed_bytes <= self._resume_bytes:
                _let_go(self._room_waiters)

    def _reject(self, rejections: Sequence[Tuple[_Batch, MillraceError]]) -> None:
        """Reports batches that will not be sent again; without `on_rejected` what was taken before is still sent, but no more taken."""
        for batch, error in rejections:
            with self._lock:
                self._rejected += batch.count
                if self._on_rejected is None and self._failure is None:
                    self._failure = error
                    self._seal()
                    _let_go(self._room_waiters)
            if self._on_rejected is not None:
                try:
                    self._on_rejected(Rejection(error, batch.messages(), batch.is_in_doubt))
                except Exception:
                    _log.exception("on_rejected of the producer of %r failed", self.stream)
        self._settle([batch for batch, _ in rejections])

    def _fail(self, error: MillraceError) -> None:
        """Nothing more will be sent: what is left is reported, each message once."""
        with self._lock:
            self._is_over = True
            self._seal()
            self._adopt()
            left = [*self._returned, *self._in_flight.values(), *self._queue]
            if self._failure is None and (left or not self._is_closed):
                self._failure = error
            self._returned = []
            self._in_flight.clear()
            self._queue.clear()
            _let_go(self._answer_waiters)
            _let_go(self._room_waiters)
        left.sort(key=lambda batch: batch.serial)
        self._reject([(batch, error) for batch in left])

    # Processes.

    def _after_fork_in_child(self) -> None:
        """What is held is the parent's, and so is the connection: a message sent by both would be there twice."""
        connection, wake_sockets = self._connection, self._wake_sockets
        self._begin()
        if connection is not None:
            connection.abandon()
        for end in wake_sockets or ():
            end.close()

    def _finish_at_exit(self) -> None:
        if self._thread is None or self._is_closed:
            return
        try:
            self.close(self._exit_timeout)
        except MillraceError as error:
            _log.warning("the producer of %r at the end of the program: %s", self.stream, error)


def _let_go(waiters: List[threading.Lock]) -> None:
    while waiters:
        waiters.pop().release()


def _check_range(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise MillraceError("INVALID_SETTING", f"Cannot make producer: {name} is {value}, must be {least} to {most}")


_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


def _finish_all() -> None:
    for producer in list(_producers):
        producer._finish_at_exit()


def _forked() -> None:
    for producer in list(_producers):
        producer._after_fork_in_child()


def _flush_at_end_of_child() -> None:
    """A child of multiprocessing ends without atexit; it has a list of its own, emptied when the child begins."""
    processes = sys.modules.get("multiprocessing.process")
    finalizers = sys.modules.get("multiprocessing.util")
    if processes is not None and finalizers is not None and processes.parent_process() is not None:
        finalizers.Finalize(None, _finish_all, exitpriority=10)


atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# Reading


class Subscription:
    """The messages of a stream from a sequence number on, for ever: each once and in order, over as many connections as it takes.

    Iterate over it; it waits for messages to come. The engine sends `credit_bytes` ahead and no more. `start` is a sequence
    number, older than the oldest meaning the oldest, or "newest" for what is appended from now on. `on_gap` is told of messages that are
    gone, in order with those around them. Not for several threads at once. It works in the thread that iterates, so one that
    does not for a minute or so finds its connection closed, and goes on with another where it was.
    """

    def __init__(
        self,
        stream: str,
        start: Union[int, str] = 0,
        *,
        url: Optional[str] = None,
        token: Optional[str] = None,
        credit_bytes: int = 1024 * 1024,
        on_gap: Optional[Callable[[Gap], None]] = None,
        connect_timeout: float = 5.0,
    ) -> None:
        if start != "newest" and not (isinstance(start, int) and 0 <= start < 2**53):
            raise MillraceError("INVALID_SETTING", f'Cannot subscribe: start is {start!r}, must be an integer from 0, or "newest"')
        if not 1024 <= credit_bytes <= _CREDIT_BYTES_MAX:
            raise MillraceError("INVALID_SETTING", f"Cannot subscribe: credit_bytes is {credit_bytes}, must be 1024 to {_CREDIT_BYTES_MAX}")
        self.stream = stream
        self._address = _Address(url, token)
        self._credit_bytes = credit_bytes
        self._on_gap = on_gap
        self._next_sequence: Union[int, str] = start
        # Where the stream ended when it was opened last.
        self._end_sequence = 0
        self._connection: Optional[_Connection] = None
        self._subscription_id = 0
        self._is_subscribed = False
        # Frames that came and are not given out; bounded by the credit.
        self._frames: Deque[Union[bytes, Gap]] = collections.deque()
        self._messages: Iterator[Message] = iter(())
        self._consumed_bytes = 0
        self._attempt = 0
        self._heard_at = 0.0
        self._is_closed = False
        self._process = os.getpid()
        deadline = time.monotonic() + connect_timeout
        while not self._is_subscribed:
            self._advance(deadline, is_first=True)
            if time.monotonic() >= deadline and not self._is_subscribed:
                self.close()
                raise MillraceError("CONNECT_FAILED", f"Cannot subscribe within {connect_timeout} s")

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Message:
        for message in self._messages:
            return message
        while not self._is_closed:
            messages = self.next_batch()
            if messages:
                self._messages = iter(messages)
                return next(self._messages)
        raise StopIteration

    def next_batch(self, timeout: Optional[float] = None) -> List[Message]:
        """All messages of the next frame: cheaper than one by one. Nothing after `timeout` seconds without any, or once closed."""
        messages = list(self._messages)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not messages:
            more = self._take_frame(deadline)
            if more is None:
                break
            messages = more
        return messages

    def _take_frame(self, deadline: Optional[float]) -> Optional[List[Message]]:
        """The messages of the next frame, perhaps none but a gap; None at the deadline, and once closed."""
        while not self._is_closed:
            if self._frames:
                return self._open_frame(self._frames.popleft())
            is_late = deadline is not None and time.monotonic() >= deadline
            self._advance(deadline)
            if is_late and not self._frames:
                break
        return None

    def close(self) -> None:
        self._is_closed = True
        self._frames.clear()
        self._messages = iter(())
        if self._connection is not None:
            if self._process == os.getpid():
                self._connection.close()
            else:
                self._connection.abandon()
            self._connection = None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advance(self, deadline: Optional[float], is_first: bool = False) -> None:
        """Connects, or hears once. Comes back with or without frames, at the deadline at the latest."""
        if self._process != os.getpid() and self._connection is not None:
            # The parent reads from this connection; a child gets one of its own.
            self._connection.abandon()
            self._disconnect()
            self._process = os.getpid()
        try:
            if self._connection is None:
                self._connection = _Connection(self._address)
                self._heard_at = time.monotonic()
                self._connection.send(_open_stream_frame(1, self.stream))
            connection = self._connection
            connection.flush()
            self._wait(connection, deadline)
            for frame in connection.receive():
                self._on_frame(frame, connection)
        except (_ConnectionLost, struct.error, UnicodeDecodeError) as lost:
            _log.debug("connection of the subscription to %r lost: %s", self.stream, lost)
            self._try_later(deadline)
        except MillraceError as error:
            is_fatal = not _is_retryable(error) and (is_first or error.code != "CERTIFICATE_REFUSED")
            if is_fatal or (is_first and deadline is not None and time.monotonic() >= deadline):
                self.close()
                raise
            self._try_later(deadline)

    def _wait(self, connection: _Connection, deadline: Optional[float]) -> None:
        now = time.monotonic()
        silent_at = self._heard_at + _SILENCE_SECONDS
        until = silent_at if deadline is None else min(deadline, silent_at)
        if connection.wait(until - now):
            self._heard_at = time.monotonic()
        elif time.monotonic() >= silent_at:
            raise _ConnectionLost(f"nothing heard for {_SILENCE_SECONDS:.0f} s")

    def _disconnect(self) -> None:
        self._connection = None
        self._is_subscribed = False

    def _try_later(self, deadline: Optional[float]) -> None:
        if self._connection is not None:
            self._connection.close()
            if self._connection.has_received and self._is_subscribed:
                self._attempt = 0
        self._disconnect()
        seconds = _backoff_seconds(self._attempt)
        self._attempt += 1
        time.sleep(seconds if deadline is None else max(0.0, min(seconds, deadline - time.monotonic())))

    def _on_frame(self, frame: bytes, connection: _Connection) -> None:
        operation = frame[0]
        if operation == _MESSAGES:
            _, _, _, subscription_id, first_sequence, _, _ = _MESSAGES_HEAD.unpack_from(frame)
            if subscription_id != self._subscription_id:
                return
            if first_sequence != self._next_sequence:
                # Asking again would bring the same.
                text = f'Messages of "{self.stream}" begin at {first_sequence}, expected {self._next_sequence}'
                raise MillraceError("MALFORMED_FRAME", text)
            self._next_sequence = _end_sequence(frame)
            self._frames.append(frame)
        elif operation == _OPEN_STREAM_RESULT:
            opened = _read_opened(frame)
            if opened.error is not None:
                raise opened.error
            self._end_sequence = opened.next_sequence
            if self._next_sequence == "newest":
                self._next_sequence = opened.next_sequence
            self._subscription_id += 1
            # Credit belongs to a subscription of one connection: what waits here has used some already.
            self._consumed_bytes = 0
            waiting = sum(len(waiting) for waiting in self._frames if isinstance(waiting, bytes))
            credit = max(0, self._credit_bytes - waiting)
            connection.send(_SUBSCRIBE_HEAD.pack(_SUBSCRIBE, 0, 0, opened.handle, self._subscription_id, int(self._next_sequence), credit))
        elif operation == _SUBSCRIBE_RESULT:
            _, status, text_bytes, subscription_id, first_sequence = _SUBSCRIBE_RESULT_HEAD.unpack_from(frame)
            if subscription_id != self._subscription_id:
                return
            if status:
                raise _status_error(status, frame[16 : 16 + text_bytes].decode())
            self._is_subscribed = True
            missing = first_sequence - int(self._next_sequence)
            if missing > 0:
                self._frames.append(Gap(int(self._next_sequence), missing, "overwritten"))
                self._next_sequence = first_sequence

    def _open_frame(self, frame: Union[bytes, Gap]) -> List[Message]:
        messages: List[Message] = []
        if isinstance(frame, Gap):
            self._tell_gap(frame)
            return messages
        _, _, run_count, _, sequence, _, _ = _MESSAGES_HEAD.unpack_from(frame)
        at = 28 + 16 * run_count
        for run_at in range(28, at, 16):
            count, reason, value = _MESSAGES_RUN.unpack_from(frame, run_at)
            if reason:
                self._tell_gap(Gap(sequence, value, _GAP_REASONS.get(reason, f"reason {reason}")))
                sequence += value
                continue
            for sequence in range(sequence, sequence + count):
                (length,) = _U32.unpack_from(frame, at)
                at += 4
                messages.append(Message(sequence, value, frame[at : at + length]))
                at += length
            sequence += 1
        self._give_credit(len(frame))
        return messages

    def _give_credit(self, frame_bytes: int) -> None:
        """In halves of the window, so that it is few frames."""
        self._consumed_bytes += frame_bytes
        if self._connection is None or not self._is_subscribed or self._consumed_bytes * 2 < self._credit_bytes:
            return
        self._connection.send(_CREDIT_FRAME.pack(_CREDIT, 0, 0, self._subscription_id, self._consumed_bytes))
        self._consumed_bytes = 0

    def _tell_gap(self, gap: Gap) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)


def _end_sequence(frame: bytes) -> int:
    """The sequence number behind the last one that a Messages frame tells of."""
    run_count: int
    sequence: int
    _, _, run_count, _, sequence, _, _ = _MESSAGES_HEAD.unpack_from(frame)
    for count, reason, value in _MESSAGES_RUN.iter_unpack(frame[28 : 28 + 16 * run_count]):
        sequence += value if reason else count
    return sequence


def subscribe(stream: str, start: Union[int, str] = 0, **options: Any) -> Subscription:
    """The messages of a stream as they come: `for message in subscribe("readings"): …`. Options as of Subscription."""
    return Subscription(stream, start, **options)


def read(stream: str, start: int = 0, count: int = 1000, *, wait: float = 0.0, **options: Any) -> List[Message]:
    """Up to `count` messages from `start` on that are there now; if there is none, waits up to `wait` seconds for some.

    Options as of Subscription. Each call makes a connection: to follow a stream, subscribe.
    """
    messages: List[Message] = []
    with Subscription(stream, start, **options) as subscription:
        end = subscription._end_sequence
        deadline = time.monotonic() + wait
        while len(messages) < count:
            # What is there comes at once, or as a gap.
            is_there = bool(subscription._frames) or int(subscription._next_sequence) < end
            if not is_there and messages:
                break
            more = subscription._take_frame(None if is_there else deadline)
            if more is None:
                break
            messages += more
    return messages[:count]


# Streams


def create_stream(
    name: str,
    definition: Optional[Mapping[str, Any]] = None,
    options: Optional[Mapping[str, Any]] = None,
    *,
    url: Optional[str] = None,
    token: Optional[str] = None,
) -> None:
    """Makes a stream. `definition` has the protocol's field names; what it leaves out has its default. Fails when it exists."""
    document = {"definition": dict(definition or {}), "options": dict(options or {})}
    _ask(_Address(url, token), _CREATE_STREAM, name, json.dumps(document).encode())


def describe_stream(name: str, *, url: Optional[str] = None, token: Optional[str] = None) -> Dict[str, Any]:
    """All that is known of a stream: definition, options, storage, the account of every message, exporters."""
    description: Dict[str, Any] = json.loads(_ask(_Address(url, token), _DESCRIBE_STREAM, name, b""))
    return description


def _ask(address: _Address, operation: int, name: str, document: bytes) -> bytes:
    connection = _Connection(address)
    deadline = time.monotonic() + _ANSWER_SECONDS
    try:
        connection.send(_document_frame(operation, 1, name, document))
        while time.monotonic() < deadline:
            connection.flush()
            connection.wait(deadline - time.monotonic())
            for frame in connection.receive():
                if frame[0] == operation + 1:
                    _, error, answer = _read_document(frame)
                    if error is not None:
                        raise error
                    return answer
        raise MillraceError("UNKNOWN_OUTCOME", f"No answer within {_ANSWER_SECONDS:.0f} s")
    except _ConnectionLost as lost:
        raise MillraceError("UNKNOWN_OUTCOME", f"Connection to {address.endpoint} lost: {lost}") from None
    finally:
        connection.close()
