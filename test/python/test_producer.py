"""The Python producer against a real engine."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import unittest
from typing import List

from engine import SIGCONT, CuttingProxy, EngineTest, until
import millrace
from millrace import BufferFull, MillraceError, Producer, Rejection

_CLIENT = os.path.dirname(os.path.abspath(millrace.__file__))


def numbered(start: int, end: int, size: int = 0) -> List[bytes]:
    return [b"%d %s" % (number, b"x" * size) for number in range(start, end)]


class Appending(EngineTest):
    def test_three_lines_store_a_message(self) -> None:
        with Producer(self.stream, create=True) as producer:
            producer.append(b"21.5")
        self.assertEqual(self.stored(), [b"21.5"])

    def test_messages_are_sent_after_the_linger_time_without_a_flush(self) -> None:
        producer = Producer(self.stream, create=True, linger_ms=5)
        self.addCleanup(producer.close)
        for count in range(1, 4):
            producer.append(b"lone")
            until(lambda: producer.counters.acknowledged == count)
            # So that the thread sleeps again.
            until(lambda: producer._is_sleeping and not producer._is_ticking)

    def test_any_number_of_messages_stays_in_order(self) -> None:
        messages = numbered(0, 60_000)
        with Producer(self.stream, create=True, linger_ms=60_000) as producer:
            for message in messages[:20_000]:
                self.assertTrue(producer.append(message))
            self.assertEqual(producer.append_many(messages[20_000:]), 40_000)
            producer.flush()
            counters = producer.counters
        self.assertEqual(counters[:5], (60_000, 60_000, 0, 0, 0))
        self.assertLess(counters.batches, 12)
        self.assertEqual(self.stored(), messages)

    def test_messages_of_any_type_and_size_arrive(self) -> None:
        big = os.urandom(3 * 1024 * 1024)
        with Producer(self.stream, create=True, batch_bytes=1024 * 1024, linger_ms=0) as producer:
            producer.append("Grüße")
            producer.append(bytearray(b"array"))
            producer.append(memoryview(b"a view")[2:])
            producer.append(big)
            producer.append_many([b"a", "b", bytearray(b"c")])
            # More than a batch may count.
            producer.append_many([b"."] * 40_000)
            for wrong in (b"", b"x" * (16 * 1024 * 1024 + 1)):
                with self.assertRaises(MillraceError):
                    producer.append(wrong)
            with self.assertRaises(TypeError):
                producer.append(5)  # type: ignore[arg-type]
        expected = ["Grüße".encode(), b"array", b"view", big, b"a", b"b", b"c", *[b"."] * 40_000]
        self.assertEqual(self.stored(), expected)

    def test_threads_share_a_producer_and_each_keeps_its_order(self) -> None:
        with Producer(self.stream, create=True, batch_bytes=1024) as producer:

            def work(name: int) -> None:
                for number in range(3000):
                    producer.append(b"%d %d" % (name, number))

            threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        stored = self.stored()
        self.assertEqual(len(stored), 12_000)
        for name in range(4):
            own = [message for message in stored if message.startswith(b"%d " % name)]
            self.assertEqual(own, [b"%d %d" % (name, number) for number in range(3000)])

    @unittest.skipIf(sys.version_info < (3, 10), "Python 3.9 may leave a with statement without releasing its lock (bpo-29988)")
    def test_an_interrupt_at_any_moment_breaks_no_batch(self) -> None:
        class Interrupted(BaseException):
            """As KeyboardInterrupt, which comes between any two steps of the main thread."""

        def interrupt(*_: object) -> None:
            raise Interrupted

        previous = signal.signal(signal.SIGALRM, interrupt)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        producer = Producer(self.stream, create=True, batch_bytes=64, memory_bytes=4096)
        taken: List[int] = []
        interrupts = number = 0
        while interrupts < 1000:
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (interrupts % 300 + 1))
                while True:
                    number += 1
                    if number % 7:
                        producer.append(b"%d" % number)
                    else:
                        producer.append_many([b"%d" % number])
                    taken.append(number)
            except Interrupted:
                interrupts += 1
        producer.close()
        stored = [int(message) for message in self.stored()]
        self.assertEqual(stored, sorted(set(stored)))
        # One that was interrupted may be in as well.
        self.assertLessEqual(set(taken), set(stored))
        self.assertEqual(producer.counters.appended, len(stored))

    def test_a_closed_producer_takes_nothing_and_closing_twice_is_nothing(self) -> None:
        producer = Producer(self.stream, create=True)
        producer.append(b"one")
        producer.close()
        producer.close()
        with self.assertRaisesRegex(MillraceError, "closed"):
            producer.append(b"two")
        self.assertEqual(self.stored(), [b"one"])

    def test_settings_that_cannot_be_are_refused(self) -> None:
        for options in ({"batch_bytes": 2**21}, {"linger_ms": -1}, {"memory_bytes": 1000}, {"in_flight_max": 65}, {"when_full": "?"}):
            with self.assertRaises(MillraceError) as caught:
                Producer(self.stream, **options)
            self.assertEqual(caught.exception.code, "INVALID_SETTING")
        for url in ("http://127.0.0.1:1", "ws://user:secret@127.0.0.1", "ws://127.0.0.1/?token=secret", "ws://127.0.0.1:0", "ws://[::1]:x"):
            with self.assertRaises(MillraceError) as caught:
                Producer(self.stream, url=url)
            self.assertNotIn("secret", str(caught.exception))


class Full(EngineTest):
    """A producer that holds as much as it may: behind a proxy that lets no answers through."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = CuttingProxy(self, self.engine.port)

    def full_producer(self, when_full: str) -> Producer:
        producer = Producer(self.stream, url=self.proxy.url, create=True, batch_bytes=4096, memory_bytes=16_384, when_full=when_full)
        self.addCleanup(producer.close)
        self.proxy.is_answering = False
        return producer

    def answer(self) -> None:
        self.proxy.is_answering = True
        # What was kept from the producer is gone: it asks again over another connection.
        self.proxy.cut()

    def test_block_waits_until_there_is_room_and_loses_nothing(self) -> None:
        producer = self.full_producer("block")
        messages = numbered(0, 2000, 100)
        thread = threading.Thread(target=lambda: [producer.append(message) for message in messages])
        thread.start()
        until(lambda: producer._room_waiters)
        appended = producer.counters.appended
        self.assertTrue(100 < appended < 200, appended)
        self.assertLessEqual(producer._held_bytes + producer._sealed_bytes, 16_384)
        self.answer()
        thread.join(30)
        producer.flush(30)
        self.assertEqual(self.stored(), messages)
        self.assertEqual(producer.counters.dropped, 0)

    def test_drop_says_so_for_each_and_stores_the_others(self) -> None:
        producer = self.full_producer("drop")
        messages = numbered(0, 300, 100)
        taken = [message for message in messages if producer.append(message)]
        self.assertTrue(100 < len(taken) < 200, len(taken))
        self.assertEqual(producer.append_many(messages), 0)
        self.assertEqual(producer.counters.dropped, 600 - len(taken))
        self.answer()
        until(lambda: producer.append(b"room again"))
        producer.flush(30)
        self.assertEqual(self.stored(), [*taken, b"room again"])

    def test_raise_raises_and_goes_on_when_there_is_room(self) -> None:
        producer = self.full_producer("raise")
        taken: List[bytes] = []
        with self.assertRaises(BufferFull):
            for message in numbered(0, 300, 100):
                producer.append(message)
                taken.append(message)
        self.assertTrue(100 < len(taken) < 200, len(taken))
        self.answer()
        producer.flush(30)
        producer.append(b"after")
        producer.flush(30)
        self.assertEqual(self.stored(), [*taken, b"after"])

    def test_flush_and_close_say_when_the_time_is_over(self) -> None:
        rejections: List[Rejection] = []
        producer = Producer(self.stream, url=self.proxy.url, create=True, on_rejected=rejections.append)
        self.proxy.is_answering = False
        producer.append(b"unanswered")
        until(lambda: producer._in_flight)
        with self.assertRaises(MillraceError) as caught:
            producer.flush(0.05)
        self.assertEqual(caught.exception.code, "TIMEOUT")
        with self.assertRaises(MillraceError) as caught:
            producer.close(0.05)
        self.assertEqual(caught.exception.code, "TIMEOUT")
        self.assertEqual([(one.error.code, one.messages, one.may_be_stored) for one in rejections], [("CONNECTION_CLOSED", [b"unanswered"], True)])


class Refused(EngineTest):
    def test_what_the_engine_refuses_is_reported_and_the_rest_is_stored(self) -> None:
        millrace.create_stream(self.stream, {"maxSize": 65_536, "streamSegmentSize": 65_536})
        rejections: List[Rejection] = []
        messages = numbered(0, 1000, 200)
        with Producer(self.stream, batch_bytes=2048, on_rejected=rejections.append) as producer:
            producer.append_many(messages)
            producer.flush()
            counters = producer.counters
        refused = [message for one in rejections for message in one.messages]
        self.assertTrue(rejections)
        self.assertEqual({(one.error.code, one.may_be_stored) for one in rejections}, {("STREAM_FULL", False)})
        self.assertEqual(sorted(self.stored() + refused), sorted(messages))
        self.assertEqual((counters.rejected, counters.acknowledged), (len(refused), 1000 - len(refused)))

    def test_without_a_callback_the_first_refusal_stops_the_producer(self) -> None:
        millrace.create_stream(self.stream, {"maxSize": 65_536, "streamSegmentSize": 65_536})
        producer = Producer(self.stream, batch_bytes=2048)
        messages = numbered(0, 1000, 200)
        with self.assertRaises(MillraceError) as caught:
            producer.append_many(messages)
            producer.flush()
        self.assertEqual(caught.exception.code, "STREAM_FULL")
        with self.assertRaises(MillraceError):
            producer.append(b"more")
        with self.assertRaises(MillraceError):
            producer.close()
        counters = producer.counters
        self.assertEqual(counters.acknowledged + counters.rejected, counters.appended)
        # What was taken before the refusal is still sent, and where it fits stored.
        stored = self.stored()
        self.assertEqual(len(stored), counters.acknowledged)
        self.assertEqual(stored, [message for message in messages if message in set(stored)])

    def test_a_stream_that_is_not_there_a_wrong_token_and_no_engine_are_told_at_once(self) -> None:
        cases = [
            ("STREAM_NOT_FOUND", {}),
            ("UNAUTHORIZED", {"token": "wrong" * 8}),
            ("CONNECT_FAILED", {"url": "ws://127.0.0.1:1", "connect_timeout": 0.2}),
            ("INVALID_REQUEST", {"create": {"maxSize": 1}}),
        ]
        for code, options in cases:
            with self.assertRaises(MillraceError) as caught:
                Producer(self.stream, **options)  # type: ignore[arg-type]
            self.assertEqual(caught.exception.code, code)

    def test_a_token_file_that_others_can_read_is_not_trusted(self) -> None:
        token = os.path.join(self.engine.store, "store", "token")
        os.chmod(token, 0o644)
        self.addCleanup(os.chmod, token, 0o600)
        with self.assertRaises(MillraceError) as caught:
            Producer(self.stream, create=True)
        self.assertEqual(caught.exception.code, "STORE_UNUSABLE")


class Restarts(EngineTest):
    """Tests that kill the engine, each leaving one that runs."""

    def stored(self) -> List[bytes]:  # type: ignore[override]
        return [message.payload for message in millrace.read(self.stream, count=10**9, url=self.engine.url)]

    def test_a_killed_engine_that_comes_back_has_everything_once(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        producer = Producer(self.stream, url=proxy.url, create=True, batch_bytes=1024)
        count = 0
        for _ in range(2):
            before = producer.counters.acknowledged
            while producer.counters.acknowledged < before + 500:
                producer.append(b"%d" % count)
                count += 1
            self.engine.kill()
            # Into the silence: these wait for the next engine.
            producer.append_many(numbered(count, count + 500))
            count += 500
            self.engine.start()
            proxy.target_port = self.engine.port
        producer.close()
        numbers = [int(message.split()[0]) for message in self.stored()]
        self.assertEqual(numbers, list(range(count)))
        self.assertEqual(producer.counters.acknowledged, count)

    def test_a_producer_may_start_before_its_engine(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        self.engine.kill()
        producer = Producer(self.stream, url=proxy.url, create=True, connect_timeout=0)
        producer.append(b"early")
        until(lambda: producer._last_error is not None)
        self.engine.start()
        proxy.target_port = self.engine.port
        producer.close()
        self.assertEqual(self.stored(), [b"early"])

    def lose_the_store(self, proxy: CuttingProxy) -> None:
        self.engine.kill()
        shutil.rmtree(os.path.join(self.engine.store, "store"))
        self.engine.start()
        millrace.create_stream(self.stream, url=self.engine.url)

    def test_an_engine_that_lost_its_store_gets_what_it_surely_lacks(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        producer = Producer(self.stream, url=proxy.url, create=True)
        producer.append(b"answered")
        producer.flush()
        proxy.is_answering = False
        producer.append(b"unanswered")
        until(lambda: producer._in_flight)
        self.lose_the_store(proxy)
        proxy.target_port, proxy.is_answering = self.engine.port, True
        proxy.cut()
        producer.close()
        self.assertEqual(self.stored(), [b"unanswered"])

    def test_what_nobody_can_tell_any_more_is_reported_as_perhaps_stored(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        rejections: List[Rejection] = []
        producer = Producer(self.stream, url=proxy.url, create=True, on_rejected=rejections.append)
        producer.append(b"answered")
        producer.flush()
        proxy.is_answering = False
        producer.append(b"unanswered")
        until(lambda: producer._in_flight)
        self.lose_the_store(proxy)
        # With messages of others behind the last one that was answered, the end of the stream says nothing.
        with Producer(self.stream, url=self.engine.url) as other:
            other.append_many([b"of another"] * 3)
        proxy.target_port, proxy.is_answering = self.engine.port, True
        proxy.cut()
        until(lambda: rejections)
        producer.append(b"later")
        producer.close()
        self.assertEqual([(one.error.code, one.messages, one.may_be_stored) for one in rejections], [("SEQUENCE_GAP", [b"unanswered"], True)])
        self.assertEqual(self.stored(), [*[b"of another"] * 3, b"later"])

    def test_the_end_of_the_program_sends_what_is_left(self) -> None:
        script = (
            "import millrace\n"
            f"producer = millrace.Producer('{self.stream}', create=True, linger_ms=60_000)\n"
            "producer.append_many(str(number) for number in range(5000))\n"
        )
        result = self.run_script(script)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.stored(), [b"%d" % number for number in range(5000)])

    def test_the_end_of_the_program_does_not_wait_for_ever(self) -> None:
        script = (
            "import millrace, os, signal\n"
            f"producer = millrace.Producer('{self.stream}', create=True, linger_ms=0, exit_timeout=0.2)\n"
            f"os.kill({self.engine._process.pid}, signal.SIGSTOP)\n"  # type: ignore[union-attr]
            "producer.append('unanswered')\n"
        )
        result = self.run_script(script)
        self.engine.send_signal(SIGCONT)
        self.assertEqual(result.returncode, 0)
        self.assertIn(f'1 messages to "{self.stream}" were not answered within 0.2 s', result.stderr)

    def run_script(self, script: str) -> "subprocess.CompletedProcess[str]":
        env = {**self.engine.env, "PYTHONPATH": _CLIENT}
        return subprocess.run([sys.executable, "-W", "error", "-c", script], env=env, capture_output=True, text=True, timeout=60)


def _work_in_child(producer: Producer, name: int) -> None:
    for number in range(500):
        producer.append(b"child %d %d" % (name, number))


@unittest.skipUnless(hasattr(os, "fork"), "this system does not fork")
class Forks(EngineTest):
    def test_parent_and_child_each_store_their_own_once(self) -> None:
        producer = Producer(self.stream, create=True, linger_ms=60_000)
        # Neither sent nor answered when the child begins.
        producer.append_many(numbered(0, 100))
        process = os.fork()
        if process == 0:
            status = 1
            try:
                if producer.counters.appended == 0:
                    producer.append(b"child")
                    producer.close()
                    status = 0
            finally:
                os._exit(status)
        _, result = os.waitpid(process, 0)
        self.assertEqual(result, 0)
        producer.append(b"parent")
        producer.close()
        self.assertEqual(self.stored(), [b"child", *numbered(0, 100), b"parent"])
        self.assertEqual(producer.counters.resent, 0)

    def test_forking_under_load_doubles_and_loses_nothing(self) -> None:
        producer = Producer(self.stream, create=True, batch_bytes=1024, exit_timeout=60)
        context = multiprocessing.get_context("fork")
        children = []
        count = 0
        for name in range(3):
            producer.append_many(numbered(count, count + 2000))
            count += 2000
            # Children of multiprocessing flush at their end by themselves.
            child = context.Process(target=_work_in_child, args=(producer, name))
            child.start()
            children.append(child)
        for child in children:
            child.join(60)
            self.assertEqual(child.exitcode, 0)
        producer.close()
        stored = self.stored()
        self.assertEqual([message for message in stored if not message.startswith(b"child")], numbered(0, count))
        for name in range(3):
            own = [message for message in stored if message.startswith(b"child %d " % name)]
            self.assertEqual(own, [b"child %d %d" % (name, number) for number in range(500)])

    def test_a_child_that_appends_nothing_leaves_the_connection_of_its_parent_alone(self) -> None:
        with Producer(self.stream, create=True) as producer:
            producer.append(b"before")
            producer.flush()
            process = os.fork()
            if process == 0:
                producer.close()
                os._exit(0)
            self.assertEqual(os.waitpid(process, 0)[1], 0)
            connection = producer._connection
            producer.append(b"after")
            producer.flush()
            self.assertIs(producer._connection, connection)
        self.assertEqual(self.stored(), [b"before", b"after"])


if __name__ == "__main__":
    unittest.main()
