"""Wheel and source distribution are built and installed without a network."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from typing import Dict, List

from engine import EngineTest
import millrace

_SOURCE = os.path.dirname(os.path.abspath(millrace.__file__))
_BASE = f"millrace-{millrace.__version__}"
_NAMES = [f"{_BASE}-py3-none-any.whl", f"{_BASE}.tar.gz"]


def run(*command: str, **env: str) -> str:
    """Without what the tester has set, and without a network that pip would find."""
    variables = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1", **env}
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return result.stdout


class Package(EngineTest):
    def setUp(self) -> None:
        super().setUp()
        self.directory = tempfile.mkdtemp(prefix="millrace-package-")
        self.addCleanup(shutil.rmtree, self.directory)

    def build(self, source: str, into: str) -> Dict[str, bytes]:
        target = os.path.join(self.directory, into)
        run(sys.executable, "-B", os.path.join(source, "build_backend.py"), target)
        self.assertEqual(sorted(os.listdir(target)), _NAMES)
        built = {}
        for name in _NAMES:
            with open(os.path.join(target, name), "rb") as file:
                built[name] = file.read()
        return built

    def test_the_same_sources_give_the_same_files_and_the_source_distribution_gives_them_again(self) -> None:
        first = self.build(_SOURCE, "first")
        self.assertEqual(self.build(_SOURCE, "second"), first)
        with tarfile.open(os.path.join(self.directory, "first", _NAMES[1])) as archive:
            for entry in archive:
                path = os.path.join(self.directory, entry.name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                source = archive.extractfile(entry)
                assert source is not None
                with open(path, "wb") as file:
                    file.write(source.read())
        self.assertEqual(self.build(os.path.join(self.directory, _BASE), "third"), first)

    def test_a_copy_of_the_directory_alone_is_enough(self) -> None:
        copy = os.path.join(self.directory, "copy")
        shutil.copytree(_SOURCE, copy)
        self.assertEqual(self.build(copy, "of-the-copy"), self.build(_SOURCE, "here"))

    def test_the_wheel_holds_the_module_and_what_its_record_says(self) -> None:
        wheel = zipfile.ZipFile(io.BytesIO(self.build(_SOURCE, "built")[_NAMES[0]]))
        info = f"{_BASE}.dist-info"
        rows: List[List[str]] = list(csv.reader(io.StringIO(wheel.read(f"{info}/RECORD").decode())))
        self.assertEqual([row[0] for row in rows], wheel.namelist())
        for path, digest, size in rows[:-1]:
            data = wheel.read(path)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            self.assertEqual((digest, size), (f"sha256={expected}", str(len(data))))
        with open(millrace.__file__, "rb") as file:
            self.assertEqual(wheel.read("millrace.py"), file.read())
        with open(os.path.join(_SOURCE, "..", "..", "LICENSE"), "rb") as file:
            self.assertEqual(wheel.read(f"{info}/licenses/LICENSE"), file.read())
        metadata = wheel.read(f"{info}/METADATA").decode()
        for line in ("Name: millrace", f"Version: {millrace.__version__}", "Requires-Python: >=3.9", "License-Expression: Apache-2.0"):
            self.assertIn(f"{line}\n", metadata)
        with open(os.path.join(_SOURCE, "..", "..", "package.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["version"], millrace.__version__)

    def pip(self) -> List[str]:
        """The command of this Python's pip, or of one in an environment made for it, which takes a while."""
        if importlib.util.find_spec("pip") is not None:
            return [sys.executable, "-m", "pip"]
        if importlib.util.find_spec("ensurepip") is None:
            reason = "this Python has neither pip nor ensurepip (Debian: python3-venv), which makes an environment with one"
            if os.environ.get("CI") == "true":
                self.fail(reason)
            self.skipTest(reason)
        environment = os.path.join(self.directory, "environment")
        run(sys.executable, "-m", "venv", environment)
        return [os.path.join(environment, "bin", "python"), "-m", "pip"]

    def test_pip_installs_it_from_the_sources_without_a_network_and_it_works(self) -> None:
        target = os.path.join(self.directory, "target")
        # As pip does from a checkout: with build isolation, which has nothing to fetch.
        run(*self.pip(), "install", "--target", target, _SOURCE, PYTHONDONTWRITEBYTECODE="1")
        script = f"""
import sys
sys.path.insert(0, {target!r})
import importlib.metadata, millrace
print(millrace.__file__, importlib.metadata.version("millrace"))
with millrace.Producer({self.stream!r}, create=True) as producer:
    producer.append(b"installed")
"""
        installed = os.path.join(target, "millrace.py")
        self.assertEqual(run(sys.executable, "-I", "-B", "-c", script, **self.engine.env), f"{installed} {millrace.__version__}\n")
        self.assertEqual(self.stored(), [b"installed"])


if __name__ == "__main__":
    unittest.main()
