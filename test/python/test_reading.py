"""Reading by the Python client from a real engine; and what it makes of addresses and certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from typing import Dict, List
from unittest import mock

from engine import CuttingProxy, Engine, EngineTest, until
import millrace
from millrace import Gap, Message, MillraceError, Producer


class Reading(EngineTest):
    def fill(self, count: int, **options: object) -> List[bytes]:
        messages = [b"%d" % number for number in range(count)]
        with Producer(self.stream, create=True, **options) as producer:  # type: ignore[arg-type]
            producer.append_many(messages)
        return messages

    def test_read_gives_what_is_there(self) -> None:
        messages = self.fill(5000)
        self.assertEqual([message.payload for message in millrace.read(self.stream, count=5000)], messages)
        self.assertEqual([message.sequence for message in millrace.read(self.stream, 4000, 3)], [4000, 4001, 4002])
        self.assertEqual(len(millrace.read(self.stream, 4990)), 10)
        self.assertEqual(millrace.read(self.stream, 5000), [])
        self.assertEqual(millrace.read(self.stream, 9000), [])
        newest = millrace.read(self.stream, 4999)[0]
        self.assertIsInstance(newest, Message)
        self.assertLess(abs(newest.ingest_time_ms / 1000 - time.time()), 60)

    def test_read_waits_for_a_first_message_if_asked(self) -> None:
        self.fill(10)
        got: List[Message] = []
        reader = threading.Thread(target=lambda: got.extend(millrace.read(self.stream, 10, wait=30)))
        reader.start()
        with Producer(self.stream) as producer:
            producer.append(b"awaited")
        reader.join(30)
        self.assertEqual([message.payload for message in got], [b"awaited"])

    def test_subscribe_goes_on_as_messages_come(self) -> None:
        self.fill(1000)
        with millrace.subscribe(self.stream, 990) as old, millrace.subscribe(self.stream, "newest") as new:
            self.assertEqual([next(old).sequence for _ in range(10)], list(range(990, 1000)))
            self.assertEqual(new.next_batch(0), [])
            with Producer(self.stream) as producer:
                producer.append(b"one more")
            self.assertEqual(next(old).payload, b"one more")
            self.assertEqual(next(new).payload, b"one more")
            self.assertEqual(old.next_batch(0.01), [])
        self.assertEqual(list(old), [])

    def test_a_slow_reader_holds_no_more_than_its_credit_and_gets_everything(self) -> None:
        with Producer(self.stream, create=True) as producer:
            producer.append_many([b"%06d" % number + b"x" * 994 for number in range(3000)])
        subscription = millrace.subscribe(self.stream, credit_bytes=16_384)
        self.addCleanup(subscription.close)
        sequence = 0
        for message in subscription:
            self.assertEqual(message.payload[:6], b"%06d" % sequence)
            held = sum(len(frame) for frame in subscription._frames if isinstance(frame, bytes))
            # The last frame may overdraw the credit.
            self.assertLess(held, 16_384 + 300 * 1024)
            sequence += 1
            if sequence == 3000:
                break

    def test_what_was_overwritten_is_told_as_a_gap(self) -> None:
        definition = {"maxSize": 65_536, "streamSegmentSize": 16_384, "strategyOnFull": 1}
        with Producer(self.stream, create=definition, batch_bytes=4096) as producer:
            producer.append_many([b"x" * 100] * 5000)
        gaps: List[Gap] = []
        messages = millrace.read(self.stream, count=10**6, on_gap=gaps.append)
        self.assertEqual(gaps, [Gap(0, messages[0].sequence, "overwritten")])
        self.assertEqual(messages[-1].sequence, 4999)

    def test_a_subscription_goes_on_after_a_cut_where_it_was(self) -> None:
        proxy = CuttingProxy(self, self.engine.port)
        self.fill(3000)
        subscription = millrace.subscribe(self.stream, url=proxy.url, credit_bytes=1024)
        self.addCleanup(subscription.close)
        sequences = []
        for message in subscription:
            sequences.append(message.sequence)
            if len(sequences) % 500 == 0:
                proxy.cut()
            if len(sequences) == 3000:
                break
        self.assertEqual(sequences, list(range(3000)))
        self.assertGreater(proxy.cuts, 2)

    def test_a_forked_child_reads_on_over_a_connection_of_its_own(self) -> None:
        self.fill(100)
        subscription = millrace.subscribe(self.stream)
        self.addCleanup(subscription.close)
        self.assertEqual(next(subscription).sequence, 0)
        rest = list(range(1, 100))
        process = os.fork()
        if process == 0:
            status = 1
            try:
                if [next(subscription).sequence for _ in rest] == rest and subscription.next_batch(0.05) == []:
                    status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(process, 0)[1], 0)
        self.assertEqual([next(subscription).sequence for _ in rest], rest)
        with Producer(self.stream) as producer:
            producer.append(b"last")
        self.assertEqual(next(subscription).payload, b"last")

    def test_streams_are_made_and_described(self) -> None:
        millrace.create_stream(self.stream, {"maxSize": 65_536, "streamSegmentSize": 65_536}, {"freeExported": True})
        with self.assertRaisesRegex(MillraceError, "exists"):
            millrace.create_stream(self.stream)
        description = millrace.describe_stream(self.stream)
        self.assertEqual((description["definition"]["maxSize"], description["options"]), (65_536, {"freeExported": True}))
        for refused in (lambda: millrace.describe_stream("none"), lambda: millrace.read("none"), lambda: millrace.subscribe("none")):
            with self.assertRaises(MillraceError) as caught:
                refused()
            self.assertEqual(caught.exception.code, "STREAM_NOT_FOUND")
        for start in (-1, 2**53, "oldest"):
            with self.assertRaises(MillraceError):
                millrace.subscribe(self.stream, start)

    def test_messages_of_any_size_come_and_go_masked(self) -> None:
        class Remote(millrace._Address):
            """As if the engine were on another machine."""

            def __init__(self, url: object, token: object) -> None:
                super().__init__(None, None)
                self._token = self.token()
                self.is_loopback = False

        payloads = [os.urandom(size) for size in (1, 2, 3, 120, 126, 300, 65_000, 70_000, 2_000_000)]
        with mock.patch.object(millrace, "_Address", Remote):
            with Producer(self.stream, create=True) as producer:
                producer.append_many(payloads)
            self.assertEqual([message.payload for message in millrace.read(self.stream)], payloads)


class Tls(unittest.TestCase):
    def make_certificate(self) -> Dict[str, str]:
        """For this machine's address, not for its name."""
        if shutil.which("openssl") is None:
            reason = 'program "openssl" is not installed; needed to make a certificate'
            if os.environ.get("CI") == "true":
                self.fail(reason)
            self.skipTest(reason)
        directory = tempfile.mkdtemp(prefix="millrace-tls-")
        self.addCleanup(shutil.rmtree, directory)
        certificate, key = os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        command += ["-subj", "/CN=millrace", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)
        os.chmod(key, 0o600)
        return {"MILLRACE_TLS_CERTIFICATE": certificate, "MILLRACE_TLS_KEY": key}

    def test_wss_goes_through_tls_and_checks_the_certificate(self) -> None:
        settings = self.make_certificate()
        engine = Engine(**settings)
        self.addCleanup(engine.remove)
        url = f"wss://127.0.0.1:{engine.port}"
        payloads = [os.urandom(size) for size in (1, 1000, 100_000, 300_000)] * 10
        with mock.patch.dict(os.environ, engine.env):
            with self.assertRaises(MillraceError) as caught:
                Producer("s", url=url, create=True)
            self.assertEqual(caught.exception.code, "CERTIFICATE_REFUSED")
            os.environ["MILLRACE_TLS_AUTHORITIES"] = settings["MILLRACE_TLS_CERTIFICATE"]
            with Producer("s", url=url, create=True) as producer:
                producer.append_many(payloads)
            self.assertEqual([message.payload for message in millrace.read("s", url=url)], payloads)
            # Its name is not in the certificate.
            with self.assertRaises(MillraceError) as caught:
                millrace.read("s", url=f"wss://localhost:{engine.port}")
            self.assertEqual(caught.exception.code, "CERTIFICATE_REFUSED")


class Rights(EngineTest):
    def test_a_token_without_the_right_is_told_so_at_once(self) -> None:
        millrace.create_stream(self.stream)
        token = self.engine.run("tokens", "create", "reader", "--read", self.stream).split()[-1]
        # The engine hears of a new token from the file system, which may take a moment.
        until(lambda: self.is_let_in(token))
        with self.assertRaises(MillraceError) as caught:
            with Producer(self.stream, token=token) as producer:
                producer.append(b"not allowed")
        self.assertEqual(caught.exception.code, "UNAUTHORIZED")
        self.assertEqual(self.stored(), [])

    def is_let_in(self, token: str) -> bool:
        try:
            return millrace.read(self.stream, token=token) == []
        except MillraceError as error:
            if error.code != "UNAUTHORIZED":
                raise
            return False


class Addresses(unittest.TestCase):
    def address(self, url: object = None, **env: str) -> millrace._Address:
        with mock.patch.dict(os.environ, env, clear=True):
            return millrace._Address(url, None)  # type: ignore[arg-type]

    def test_the_engine_is_where_its_own_variables_say(self) -> None:
        self.assertEqual(self.address().endpoint, "127.0.0.1:8088")
        self.assertEqual(self.address(STREAM_MANAGER_SERVER_PORT="9000", MILLRACE_HOST="0.0.0.0").endpoint, "127.0.0.1:9000")
        self.assertEqual(self.address(MILLRACE_HOST="::1").endpoint, "[::1]:8088")
        self.assertEqual(self.address(MILLRACE_URL="wss://edge.local:1").endpoint, "edge.local:1")
        self.assertEqual(self.address("ws://[::1]:7", MILLRACE_URL="wss://edge.local:1").endpoint, "[::1]:7")

    def test_an_engine_with_a_certificate_is_asked_over_tls_where_it_does_not_take_plain_connections(self) -> None:
        certificate = {"MILLRACE_TLS_CERTIFICATE": "/etc/cert.pem"}
        remote = {**certificate, "MILLRACE_HOST": "192.0.2.7"}
        self.assertFalse(self.address(**certificate).is_tls)
        self.assertTrue(self.address(**certificate, MILLRACE_PLAIN_FROM="nowhere").is_tls)
        self.assertTrue(self.address(**remote).is_tls)
        self.assertFalse(self.address(**remote, MILLRACE_PLAIN_FROM="anywhere").is_tls)
        self.assertFalse(self.address(MILLRACE_HOST="192.0.2.7").is_tls)

    def test_a_name_that_begins_like_a_loopback_address_is_none(self) -> None:
        for host in ("127.0.0.1", "127.8.9.1", "[::1]", "localhost"):
            self.assertTrue(self.address(f"ws://{host}:1").is_loopback, host)
        for host in ("127.0.0.1.example", "127.example", "192.0.2.7", "[::2]"):
            self.assertFalse(self.address(f"ws://{host}:1").is_loopback, host)

    def test_only_this_machine_gets_the_token_of_the_file(self) -> None:
        with tempfile.TemporaryDirectory() as state:
            os.mkdir(os.path.join(state, "millrace"))
            path = os.path.join(state, "millrace", "token")
            with open(path, "w", encoding="ascii") as file:
                file.write("of-the-file\n")
            os.chmod(path, 0o600)
            with mock.patch.dict(os.environ, {"XDG_STATE_HOME": state}, clear=True):
                self.assertEqual(millrace._Address("ws://127.0.0.1:1", None).token(), "of-the-file")
                self.assertIsNone(millrace._Address("ws://edge.local:1", None).token())
                self.assertIsNone(millrace._Address("ws://127.0.0.1.example:1", None).token())
                self.assertEqual(millrace._Address("ws://edge.local:1", "given").token(), "given")
                os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "of-aws"
                self.assertEqual(millrace._Address("ws://127.0.0.1:1", None).token(), "of-aws")
                os.environ["MILLRACE_TOKEN"] = "of-millrace"
                self.assertEqual(millrace._Address("ws://edge.local:1", None).token(), "of-millrace")


if __name__ == "__main__":
    unittest.main()
