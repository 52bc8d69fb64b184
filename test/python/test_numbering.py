"""The producer against an engine of the test's own that keeps the protocol's promises and is otherwise as unkind as it may be.

Every message must be stored once and in order, or be reported, and what is reported as not stored must not be.
"""

from __future__ import annotations

import base64
import collections
import hashlib
import itertools
import os
import random
import socket
import struct
import threading
import time
import unittest
from typing import Callable, Dict, List, Optional, Tuple
from unittest import mock

from engine import seeded
import millrace
from millrace import Producer, Rejection

# `NUMBERING_ROUNDS=500 SEED=1` for a long run.
_ROUNDS = int(os.environ.get("NUMBERING_ROUNDS") or 20)
_WINDOW = 64
_BUSY, _UNKNOWN_OUTCOME, _FULL, _GAP, _UNKNOWN_HANDLE, _INVALID = 69, 65, 64, 67, 68, 3


class UnkindEngine:
    """One stream. Refuses, forgets, cuts and loses answers by chance, as often as `unkindness` says."""

    def __init__(self, test: unittest.TestCase, chance: random.Random, unkindness: float) -> None:
        self._chance = chance
        self.unkindness = unkindness
        # Whether the first batch of the producer's present id was answered: forgotten before that, it could not notice.
        self.can_forget: Callable[[], bool] = lambda: False
        self.stored: List[bytes] = []
        # Of each producer the number of its newest batch, and the answers to its last ones.
        self._windows: Dict[int, "collections.OrderedDict[int, Tuple[int, int]]"] = {}
        self._owners: Dict[int, int] = {}
        self._lock = threading.Lock()
        self._connections = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        test.addCleanup(self._close)

    def _close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._threads.append(threading.Thread(target=self._serve, args=(client, next(self._connections))))
            self._threads[-1].start()

    def _serve(self, client: socket.socket, connection: int) -> None:
        with client, client.makefile("rb") as source:
            try:
                self._shake_hands(client, source)
                handles: set[int] = set()
                is_cut = False
                while True:
                    frame = _read_frame(source)
                    if frame is None:
                        return
                    with self._lock:
                        answer = self._answer(frame, connection, handles)
                        is_cut_now = not is_cut and self._happens(0.02)
                    if is_cut_now:
                        is_cut = True
                        client.shutdown(socket.SHUT_WR)
                    if is_cut:
                        # What was sent may be stored, now or late, and nobody hears of it.
                        time.sleep(0.001 * self._chance.random())
                    else:
                        client.sendall(struct.pack(">BB", 0x82, len(answer)) + answer)
            except OSError:
                return

    def _shake_hands(self, client: socket.socket, source: object) -> None:
        key = ""
        while line := source.readline().strip():  # type: ignore[attr-defined]
            if line.lower().startswith(b"sec-websocket-key:"):
                key = line.split(b":")[1].strip().decode()
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", f"Sec-WebSocket-Accept: {accept}", "Sec-WebSocket-Protocol: millrace.v1"]
        client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share * self.unkindness

    def _answer(self, frame: bytes, connection: int, handles: "set[int]") -> bytes:
        if frame[0] == 64:
            (request_id,) = struct.unpack_from("<I", frame, 4)
            if self._happens(0.1):
                return struct.pack("<BBHIIQ", 65, _BUSY, 0, request_id, 0, 0)
            handles.add(len(handles))
            return struct.pack("<BBHIIQ", 65, 0, 0, request_id, len(handles) - 1, len(self.stored))
        _, _, _, handle, request_id, _, count, producer, number = struct.unpack_from("<BBHIIIIQQ", frame)
        status, value = self._append(frame[36:], count, producer, number, connection, handle in handles)
        if status == _UNKNOWN_HANDLE:
            handles.discard(handle)
        head = struct.pack("<BBHIIQ", 67, 0, 1, request_id, status, value)
        return head + (struct.pack("<H", 6) + b"unkind" if status else b"")

    def _append(self, body: bytes, count: int, producer: int, number: int, connection: int, is_open: bool) -> Tuple[int, int]:
        if not is_open or self._happens(0.02):
            return _UNKNOWN_HANDLE, 0
        if self._owners.get(producer, -1) > connection:
            return _INVALID, 0
        self._owners[producer] = connection
        if self._happens(0.05):
            return _BUSY, 0
        if self._happens(0.02) and self.can_forget():
            self._windows.clear()
            # It was others that took the place of its producers, or it was made to forget.
            if self._chance.random() < 0.5:
                self.stored.append(b"other")
        window = self._windows.get(producer)
        expected = next(reversed(window)) + 1 if window else 0
        if number != expected:
            first, stored_count = window.get(number, (0, 0)) if window else (0, 0)
            return (0, first) if stored_count == count else (_GAP, expected)
        if self._happens(0.03):
            return _FULL, 0
        if self._happens(0.03):
            return _UNKNOWN_OUTCOME, 0
        first = len(self.stored)
        at = 0
        for _ in range(count):
            (length,) = struct.unpack_from("<I", body, at)
            self.stored.append(bytes(body[at + 4 : at + 4 + length]))
            at += 4 + length
        window = self._windows.setdefault(producer, collections.OrderedDict())
        window[number] = (first, count)
        if len(window) > _WINDOW:
            window.popitem(last=False)
        # Others write as well, so that the end of the stream does not always tell.
        if self._happens(0.01):
            self.stored.append(b"other")
        return (_UNKNOWN_OUTCOME, 0) if self._happens(0.03) else (0, first)


def _read_frame(source: object) -> Optional[bytes]:
    read: Callable[[int], bytes] = source.read  # type: ignore[attr-defined]
    head = read(2)
    if len(head) < 2 or head[0] == 0x88:
        return None
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", read(8))
    read(4)
    frame = read(length)
    return frame if len(frame) == length else None


def has_begun(producer: Producer) -> bool:
    numbers = producer._numbers
    with producer._lock:
        is_first_open = any(batch.number == 0 and batch.producer_id == numbers._id for batch in producer._unsettled)
    return numbers._acknowledged >= 0 and not is_first_open


class Numbering(unittest.TestCase):
    def test_every_message_is_stored_once_and_in_order_or_reported_as_it_is(self) -> None:
        chance = seeded()
        sums = collections.Counter()  # type: ignore[var-annotated]
        with mock.patch.object(millrace, "_backoff_seconds", lambda attempt: 0.001 * chance.random()):
            for _ in range(_ROUNDS):
                seed = chance.randrange(2**32)
                with self.subTest(seed=seed):
                    sums.update(self.run_round(random.Random(seed)))
        # A test that met nothing unkind tests nothing.
        self.assertGreater(sums["resent"], 0)
        self.assertGreater(sums["reported"], 0)
        print(", ".join(f"{count} {name}" for name, count in sums.items()))

    def run_round(self, chance: random.Random) -> Dict[str, int]:
        engine = UnkindEngine(self, chance, unkindness=chance.choice([0.3, 1, 3]))
        rejections: List[Rejection] = []
        producer = Producer(
            "s",
            url=engine.url,
            batch_bytes=chance.choice([64, 100, 400]),
            linger_ms=chance.choice([0, 1]),
            memory_bytes=chance.choice([2000, 20_000]),
            in_flight_max=chance.choice([1, 3, 20, 64]),
            on_rejected=rejections.append,
        )
        if chance.random() < 0.3:
            engine.can_forget = lambda: has_begun(producer)
        count = chance.randrange(200, 1500)
        for number in range(count):
            producer.append(b"%d" % number)
            if chance.random() < 0.01:
                time.sleep(0.001)
        producer.flush(60)
        # The rest of what was sent over lines that are gone.
        engine.unkindness = 0
        counters = producer.counters
        producer.close()
        with engine._lock:
            stored = [int(message) for message in engine.stored if message != b"other"]
        self.assertEqual(stored, sorted(set(stored)), "doubled, or out of order")
        reported = [int(message) for one in rejections for message in one.messages]
        self.assertEqual(len(reported), len(set(reported)))
        in_doubt = {int(message) for one in rejections if one.may_be_stored for message in one.messages}
        surely_not = set(reported) - in_doubt
        self.assertEqual(surely_not & set(stored), set(), "reported as not stored, and stored")
        self.assertEqual(set(range(count)) - set(stored) - set(reported), set(), "lost")
        self.assertEqual(counters.acknowledged + counters.rejected, count)
        return {"messages": count, "resent": counters.resent, "reported": len(reported), "in doubt": len(in_doubt)}


if __name__ == "__main__":
    unittest.main()
