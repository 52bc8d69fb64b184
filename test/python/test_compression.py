"""Batches that the Python producer compressed, against a real engine."""

from __future__ import annotations

import importlib.util
import json
import os
import unittest
from typing import Any, Dict, List
from unittest import mock

from engine import CuttingProxy, EngineTest, until
import millrace
from millrace import MillraceError, Producer, Rejection

_HAS_LZ4 = importlib.util.find_spec("lz4") is not None
_WHY = "the package lz4 is not installed (apt install python3-lz4, or pip install lz4)"


def readings(start: int, end: int) -> List[bytes]:
    return [json.dumps({"sensor": "motor-7", "reading": index, "value": index * 7919 % 997}).encode() for index in range(start, end)]


class Options(EngineTest):
    def test_another_compression_is_refused_by_name(self) -> None:
        with self.assertRaises(MillraceError) as caught:
            Producer(self.stream, compression="zstd")
        self.assertEqual(caught.exception.code, "INVALID_SETTING")
        self.assertIn("compression is 'zstd', must be \"none\" or \"lz4\"", str(caught.exception))

    def test_what_is_missing_is_named_where_there_is_no_lz4(self) -> None:
        with mock.patch.dict("sys.modules", {"lz4": None, "lz4.block": None}):
            with self.assertRaises(MillraceError) as caught:
                Producer(self.stream, compression="lz4")
            self.assertEqual(caught.exception.code, "INVALID_SETTING")
            self.assertIn("needs the package lz4 (pip install lz4)", str(caught.exception))
            with Producer(self.stream, create=True, compression="none") as producer:
                producer.append(b"plain")
        self.assertEqual(self.stored(), [b"plain"])

    def test_a_plain_producer_counts_what_it_sends(self) -> None:
        with Producer(self.stream, create=True, linger_ms=60_000) as producer:
            producer.append_many([b"12345678"] * 100)
            producer.flush()
            self.assertEqual(producer.counters.sent_bytes, 36 + 100 * 12)


@unittest.skipUnless(_HAS_LZ4, _WHY)
class Compressing(EngineTest):
    def test_fewer_bytes_are_sent_and_the_same_messages_stored(self) -> None:
        messages = readings(0, 30_000)
        with Producer(self.stream, create=True, compression="lz4", linger_ms=60_000) as producer:
            producer.append_many(messages[:20_000])
            for message in messages[20_000:]:
                producer.append(message)
            producer.flush()
            counters = producer.counters
        self.assertEqual(self.stored(), messages)
        size = sum(len(message) + 4 for message in messages)
        self.assertLess(counters.sent_bytes, size / 2)
        # Of 256 KiB each.
        self.assertEqual(counters.batches, size // (256 * 1024 - 50) + 1)

    def test_what_does_not_shrink_or_is_small_goes_as_it_is(self) -> None:
        size = 50_000
        noise = [os.urandom(size) for _ in range(20)]
        small = b"a" * 40_000
        with Producer(self.stream, create=True, compression="lz4", linger_ms=60_000) as producer:
            for message in (*noise, small):
                producer.append(message)
                producer.flush()
            plain = 20 * (size + 40) + len(small) + 40
            self.assertEqual(producer.counters.sent_bytes, plain)
            # The next one is tried again after some that were not.
            for _ in range(32):
                producer.append(b"b" * size)
                producer.flush()
            self.assertLess(producer.counters.sent_bytes - plain, 20 * size)
        self.assertEqual(self.stored(), [*noise, small, *[b"b" * size] * 32])

    def test_small_batches_are_compressed_for_another_machine_only(self) -> None:
        body = b"a" * 4000
        self.assertIs(millrace._Packer(is_local=True).pack(body), body)
        self.assertLess(len(millrace._Packer(is_local=False).pack(body)), 100)

    def test_one_large_message_is_compressed_up_to_the_size_that_the_engine_unpacks(self) -> None:
        large = [b"x" * (4 * 1024 * 1024 - 4), b"y" * (4 * 1024 * 1024)]
        with Producer(self.stream, create=True, compression="lz4", linger_ms=0) as producer:
            for message in large:
                producer.append(message)
            producer.flush()
            self.assertLess(producer.counters.sent_bytes, 4 * 1024 * 1024 + 64 * 1024)
        self.assertEqual(self.stored(), large)

    def test_messages_are_stored_once_over_broken_connections(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        messages = readings(0, 40_000)
        with Producer(self.stream, create=True, compression="lz4", batch_bytes=64 * 1024, url=proxy.url) as producer:
            for start in range(0, len(messages), 4000):
                producer.append_many(messages[start : start + 4000])
                acknowledged = producer.counters.acknowledged
                proxy.cut()
                until(lambda: producer.counters.acknowledged > acknowledged)
        self.assertEqual(self.stored(), messages)

    def test_refused_messages_are_reported_as_they_were(self) -> None:
        rejections: List[Rejection] = []
        definition: Dict[str, Any] = {"maxSize": 262_144, "streamSegmentSize": 65_536, "strategyOnFull": 0}
        messages = readings(0, 12_000)
        with Producer(
            self.stream, create=definition, compression="lz4", batch_bytes=64 * 1024, linger_ms=60_000, on_rejected=rejections.append
        ) as producer:
            producer.append_many(messages)
            producer.flush()
        stored = self.stored()
        refused = [message for rejection in rejections for message in rejection.messages]
        self.assertTrue(stored and refused)
        self.assertEqual(sorted(stored + refused), sorted(messages))


if __name__ == "__main__":
    unittest.main()
