"""Builds wheel and source distribution of the client, as PEP 517 asks, with nothing but the standard library.

`pip install tools/python` works without a network; `python3 tools/python/build_backend.py <directory>` writes both files. The
same sources give the same bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import re
import sys
import tarfile
import zipfile
from typing import Dict, List, Optional, Tuple

_HERE = os.path.dirname(os.path.abspath(__file__))
# The least that a zip file can say.
_DATE = (1980, 1, 1, 0, 0, 0)
_SDIST_FILES = ("build_backend.py", "bench.py", "millrace.py", "pyproject.toml", "LICENSE")


def build_wheel(
    wheel_directory: str, config_settings: Optional[Dict[str, object]] = None, metadata_directory: Optional[str] = None
) -> str:
    project = _Project()
    info = f"{project.base}.dist-info"
    files = [("millrace.py", _read("millrace.py"))]
    files += [(f"{info}/{name}", data) for name, data in project.metadata_files()]
    files.append((f"{info}/RECORD", _record(files, f"{info}/RECORD")))
    name = f"{project.base}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files:
            entry = zipfile.ZipInfo(path, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, data)
    return name


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, object]] = None) -> str:
    project = _Project()
    name = f"{project.base}.tar.gz"
    files = [(path, _read(path)) for path in _SDIST_FILES] + [("PKG-INFO", project.metadata())]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files:
            entry = tarfile.TarInfo(f"{project.base}/{path}")
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    with open(os.path.join(sdist_directory, name), "wb") as file:
        # Without name and time in its header.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            compressed.write(packed.getvalue())
    return name


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Optional[Dict[str, object]] = None) -> str:
    project = _Project()
    info = f"{project.base}.dist-info"
    for name, data in project.metadata_files():
        path = os.path.join(metadata_directory, info, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    return info


class _Project:
    """What the files say of the project; Python 3.9 has no reader for TOML, and ours are plain texts."""

    def __init__(self) -> None:
        self._texts = dict(re.findall(r'^([a-z-]+) = "(.*)"$', _read("pyproject.toml").decode(), re.MULTILINE))
        module = _read("millrace.py").decode()
        version = re.search(r'^__version__ = "(.*)"$', module, re.MULTILINE)
        description = re.match(r'"""(.*?)"""', module, re.DOTALL)
        assert version is not None and description is not None, "the module states its version and what it is"
        self._version = version[1]
        self._description = description[1]
        self.base = f"{self._texts['name']}-{self._version}"

    def metadata(self) -> bytes:
        lines = [
            "Metadata-Version: 2.4",
            f"Name: {self._texts['name']}",
            f"Version: {self._version}",
            f"Summary: {self._texts['description']}",
            f"License-Expression: {self._texts['license']}",
            "License-File: LICENSE",
            f"Requires-Python: {self._texts['requires-python']}",
            "Description-Content-Type: text/plain",
        ]
        return ("\n".join(lines) + "\n\n" + self._description).encode()

    def metadata_files(self) -> List[Tuple[str, bytes]]:
        wheel = "Wheel-Version: 1.0\nGenerator: millrace build_backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        return [("METADATA", self.metadata()), ("WHEEL", wheel.encode()), ("licenses/LICENSE", _read("LICENSE"))]


def _record(files: List[Tuple[str, bytes]], own_path: str) -> bytes:
    lines = []
    for path, data in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own_path},,\n"]).encode()


def _read(name: str) -> bytes:
    with open(os.path.join(_HERE, name), "rb") as file:
        return file.read()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"Usage: {sys.argv[0]} <directory>")
    os.makedirs(sys.argv[1], exist_ok=True)
    for build in (build_sdist, build_wheel):
        print(os.path.join(sys.argv[1], build(sys.argv[1])))
