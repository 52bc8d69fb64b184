"""A Python producer through a proxy that cuts the connection again and again: nothing lost, nothing doubled, order kept."""

from __future__ import annotations

import os
import re
import threading
import time
import unittest
import urllib.request
from typing import List

from engine import CuttingProxy, EngineTest, seeded
import millrace
from millrace import Producer

# `CUT_SECONDS=60` for the long form, in which a connection lives long enough to fill its window.
_LONG_SECONDS = os.environ.get("CUT_SECONDS")
_SECONDS, _CUT_SECONDS = (float(_LONG_SECONDS), 1.0) if _LONG_SECONDS else (3.0, 0.3)


class CutConnection(EngineTest):
    def test_everything_is_stored_once_and_in_order_though_the_connection_is_cut_again_and_again(self) -> None:
        seed = seeded()
        proxy = CuttingProxy(self, self.engine.port)
        # Small batches and a pause now and then, so that a cut finds batches in every state; a reader goes over the same line.
        producer = Producer(self.stream, url=proxy.url, create={"maxSize": 2**33}, batch_bytes=2048)
        received: List[bytes] = []
        subscription = millrace.subscribe(self.stream, url=proxy.url)
        is_over = threading.Event()
        count = 0

        def consume() -> None:
            while not (is_over.is_set() and len(received) >= count):
                received.extend(message.payload for message in subscription.next_batch(0.1))

        def cut() -> None:
            while not is_over.wait(_CUT_SECONDS * (1 + seed.uniform(-0.1, 0.1))):
                # The engine stores what it gets meanwhile, and nobody hears of it.
                proxy.is_answering = False
                is_over.wait(seed.uniform(0, 0.05))
                proxy.cut()
                proxy.is_answering = True

        threads = [threading.Thread(target=consume), threading.Thread(target=cut)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            for _ in range(200):
                producer.append(b"%d %s" % (count, b"x" * (count % 97)))
                count += 1
            time.sleep(0.005)
        producer.flush(60)
        counters = producer.counters
        is_over.set()
        producer.close()
        for thread in threads:
            thread.join(60)
        subscription.close()

        stored = [int(payload.split()[0]) for payload in self.stored()]
        self.assertEqual(stored, list(range(count)))
        self.assertEqual([int(payload.split()[0]) for payload in received], stored)
        self.assertEqual((counters.acknowledged, counters.rejected, counters.dropped), (count, 0, 0))
        self.assertGreaterEqual(proxy.cuts, _SECONDS / _CUT_SECONDS / 2)
        self.assertGreater(counters.resent, 0)
        # Without its memory for producers the engine would hold these twice.
        known = self.repeated_count()
        self.assertGreater(known, 0)
        print(f"{count} messages, {counters.resent} sent again, {known} of them known, {proxy.cuts} connections cut in {_SECONDS:.0f} s")

    def repeated_count(self) -> int:
        headers = {"Authorization": f"Bearer {millrace._Address(None, None).token()}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.engine.port}/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            metrics = response.read().decode()
        return sum(int(value) for value in re.findall(r"^millrace_stream_messages_repeated_total\{.*\} (\d+)", metrics, re.MULTILINE))


if __name__ == "__main__":
    unittest.main()
