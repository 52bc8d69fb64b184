"""The frames of the client against the README's protocol section, and its WebSocket against bytes in any portions."""

from __future__ import annotations

import collections
import os
import re
import struct
import unittest
from typing import List

import engine  # noqa: F401  (finds the client)
import millrace

_README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")


def example_frames() -> List[bytes]:
    """The worked example of the README: lines of frames that begin with > and <."""
    with open(_README, encoding="utf-8") as file:
        block = re.search(r"^```\n(> .*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    assert block is not None
    frames: List[bytes] = []
    for line in block[1].rstrip().split("\n"):
        data = bytes.fromhex(re.split(r" {3,}", line[2:].strip())[0])
        if line[0] in "<>":
            frames.append(data)
        else:
            frames[-1] += data
    return frames


class Recorder(millrace._Connection):
    """A connection without a socket."""

    def __init__(self) -> None:
        self._is_masking = False
        self._out = collections.deque()
        self._in = bytearray()
        self._fragments = []
        self._end = None

    @property
    def sent(self) -> bytes:
        return b"".join(self._out)


def server_frame(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return struct.pack(">BB", first, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack(">BBH", first, 126, len(payload)) + payload
    return struct.pack(">BBQ", first, 127, len(payload)) + payload


class Frames(unittest.TestCase):
    def test_frames_are_those_of_the_readme(self) -> None:
        opened, handle, append, stored, subscribe, subscribed, pushed, credit = example_frames()
        self.assertEqual(millrace._open_stream_frame(1, "readings"), opened)
        self.assertEqual(millrace._read_opened(handle), (1, None, 0, 100))
        body = b"".join(struct.pack("<I", len(payload)) + payload for payload in (b"21.5", b"ok"))
        head = millrace._APPEND_HEAD.pack(66, 2, 0, 0, 2, len(body), 2, 0x0123456789AB, 0)
        self.assertEqual(head + body, append)
        self.assertEqual(millrace._APPEND_RESULT.unpack_from(stored, 4), (2, 0, 100))
        self.assertEqual(millrace._SUBSCRIBE_HEAD.pack(68, 0, 0, 0, 3, 100, 1 << 20), subscribe)
        self.assertEqual(millrace._SUBSCRIBE_RESULT_HEAD.unpack_from(subscribed), (69, 0, 0, 3, 100))
        self.assertEqual(millrace._end_sequence(pushed), 102)
        self.assertEqual(millrace._CREDIT_FRAME.pack(71, 0, 0, 3, len(pushed)), credit)

    def test_a_small_frame_is_masked_by_zeros_on_loopback_as_the_readme_shows(self) -> None:
        connection = Recorder()
        connection.send(millrace._open_stream_frame(1, "readings"))
        self.assertEqual(connection.sent, bytes.fromhex("829200000000") + example_frames()[0])


class Results(unittest.TestCase):
    def test_what_was_answered_counts_though_the_frame_breaks_off_behind_it(self) -> None:
        producer = millrace.Producer("s", url="ws://127.0.0.1:1", connect_timeout=0)
        self.addCleanup(producer.close)
        producer.append(b"one")
        with producer._lock:
            producer._seal()
            producer._adopt()
        batch = producer._queue.popleft()
        producer._numbers.number(batch)
        producer._in_flight[7] = batch
        frame = struct.pack("<BBHIIQIIQ", 67, 0, 2, 7, 0, 100, 99, 0, 101)
        with self.assertRaises(millrace._ConnectionLost):
            producer._on_results(frame)
        producer.flush(0)
        self.assertEqual(producer.counters.acknowledged, 1)
        producer._in_flight.clear()


class WebSocket(unittest.TestCase):
    def test_masking_is_an_exclusive_or_with_the_key(self) -> None:
        for size in (*range(10), 125, 126, 65535, 65536, 70_001):
            data, key = os.urandom(size), os.urandom(4)
            expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
            self.assertEqual(millrace._masked(data, key), expected)

    def test_every_frame_is_masked_under_a_key_of_its_own_beyond_loopback(self) -> None:
        keys = set()
        for size in (3, 1000, 70_000):
            connection = Recorder()
            connection._is_masking = True
            data = os.urandom(size)
            connection.send(data[:2], bytearray(data[2:]))
            sent = connection.sent
            start = {3: 2, 1000: 4, 70_000: 10}[size]
            key = sent[start : start + 4]
            keys.add(key)
            self.assertEqual(millrace._masked(sent[start + 4 :], key), data)
            self.assertEqual(sent[1] & 0x80, 0x80)
        self.assertEqual(len(keys), 3)

    def test_a_frame_without_an_operation_ends_the_connection_and_not_the_program(self) -> None:
        for stream in (server_frame(0x82, b""), server_frame(0x02, b"") + server_frame(0x80, b"")):
            with self.assertRaises(millrace._ConnectionLost):
                Recorder()._parse(stream, [])

    def test_frames_are_found_whatever_pieces_they_come_in(self) -> None:
        payloads = [b"a" * 5, b"b" * 125, b"c" * 126, b"d" * 300, b"e" * 70_000]
        stream = b"".join(server_frame(0x82, payload) for payload in payloads)
        stream += server_frame(0x02, b"one ") + server_frame(0x89, b"ping") + server_frame(0x80, b"whole")
        for step in (1, 2, 3, 7, 1000, len(stream)):
            connection = Recorder()
            frames: List[bytes] = []
            for at in range(0, len(stream), step):
                connection._parse(stream[at : at + step], frames)
            self.assertEqual(frames, [*payloads, b"one whole"])
            self.assertEqual(connection.sent, b"\x8a\x84\0\0\0\0ping")

    def test_what_is_no_frame_of_a_server_ends_the_connection(self) -> None:
        for bad in (b"\x82\x81\0\0\0\0a", b"\xc2\x01a", b"\x83\x01a", struct.pack(">BBQ", 0x82, 127, 2**40)):
            with self.assertRaises(millrace._ConnectionLost):
                Recorder()._parse(bad, [])

    def test_a_close_frame_ends_the_connection_after_what_came_before(self) -> None:
        connection = Recorder()
        frames: List[bytes] = []
        connection._parse(server_frame(0x82, b"last") + server_frame(0x88, b"\x03\xe9stopping") + b"\x82\x01x", frames)
        self.assertEqual(frames, [b"last"])
        with self.assertRaisesRegex(millrace._ConnectionLost, "1001 stopping"):
            connection.receive()


if __name__ == "__main__":
    unittest.main()
