"""What the tests of the Python client share: a real engine, and a line to it that breaks."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from typing import Any, Callable, Dict, List, Optional
from unittest import mock

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(_ROOT, "tools", "python"))

_PROGRAM = os.path.join(_ROOT, "dist", "src", "millrace.js")
_NODE = os.environ.get("MILLRACE_TEST_NODE", "node")


class Engine:
    """A running `millrace serve` with a store of its own, on a free port, that may be killed and started again."""

    def __init__(self, **settings: str) -> None:
        self._settings = settings
        self.store = tempfile.mkdtemp(prefix="millrace-python-")
        self._process: Optional[subprocess.Popen[str]] = None
        self.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def env(self) -> Dict[str, str]:
        """Variables under which a client finds this engine and its token, and nothing of the tester's own."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": self.store,
            "STREAM_MANAGER_STORE_ROOT_DIR": os.path.join(self.store, "store"),
            "STREAM_MANAGER_SERVER_PORT": str(getattr(self, "port", 0)),
        }

    def start(self) -> None:
        """On the same store, on another port."""
        env = {**self.env, "STREAM_MANAGER_SERVER_PORT": "0", "LOG_LEVEL": "warn", **self._settings}
        command = [_NODE, _PROGRAM, "serve", "--json"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=env, text=True, preexec_fn=_die_with_the_tests, **streams)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if '"ready"' not in line:
            raise AssertionError(f"the engine did not start: {line}{self._process.communicate()[1]}")
        self.port: int = json.loads(line)["port"]

    def run(self, *command: str) -> str:
        """The output of one of the engine's commands."""
        return subprocess.run([_NODE, _PROGRAM, *command], env=self.env, check=True, capture_output=True, text=True).stdout

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As `kill -9`; does nothing to one that has ended."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)


def _die_with_the_tests() -> None:
    """Even if they are killed: PR_SET_PDEATHSIG of Linux."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class EngineTest(unittest.TestCase):
    """Tests against one engine; each has a stream of its own, `self.stream`."""

    engine: Engine

    @classmethod
    def setUpClass(cls) -> None:
        cls.engine = Engine()
        cls.addClassCleanup(cls.engine.remove)
        environment = mock.patch.dict(os.environ, cls.engine.env)
        environment.start()
        cls.addClassCleanup(environment.stop)

    def setUp(self) -> None:
        self.stream = self.id().rsplit(".", 1)[-1]

    def stored(self, stream: Optional[str] = None, url: Optional[str] = None) -> List[bytes]:
        import millrace

        return [message.payload for message in millrace.read(stream or self.stream, count=10**9, url=url)]


class CuttingProxy:
    """A TCP proxy on a port of its own that cuts its connections when it is told to."""

    def __init__(self, test: unittest.TestCase, target_port: int) -> None:
        self.target_port = target_port
        self.cuts = 0
        # While false, nothing that the engine says reaches the client.
        self.is_answering = True
        self._lock = threading.Lock()
        self._lines: List[List[socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        test.addCleanup(self.close)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends every connection, with whatever is on its way."""
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            self.cuts += 1
            for end in line:
                _shut(end)

    def close(self) -> None:
        _shut(self._listener)
        self._thread.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                peer = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            for end in (client, peer):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._lines.append([client, peer])
            threading.Thread(target=self._join, args=(client, peer), daemon=True).start()

    def _join(self, client: socket.socket, peer: socket.socket) -> None:
        answers = threading.Thread(target=self._pump, args=(peer, client, True), daemon=True)
        answers.start()
        self._pump(client, peer, False)
        answers.join()
        client.close()
        peer.close()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if not is_answer or self.is_answering:
                    target.sendall(data)
        except OSError:
            pass
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits for a condition, and fails if it does not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what was waited for did not come about")
        time.sleep(0.002)


def seeded() -> random.Random:
    """`SEED=8127` for the same again."""
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    print(f"SEED={seed}", file=sys.stderr)
    return random.Random(seed)


SIGSTOP, SIGCONT = signal.SIGSTOP, signal.SIGCONT
