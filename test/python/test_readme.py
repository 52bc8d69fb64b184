"""The Python programs of the README as they stand there."""

from __future__ import annotations

import ast
import os
import re
import select
import subprocess
import sys
import unittest

from engine import EngineTest
import millrace

_README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")
_MODULE = os.path.abspath(millrace.__file__)


class Readme(EngineTest):
    def test_the_programs_of_the_readme_run(self) -> None:
        with open(_README, encoding="utf-8") as file:
            blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
        programs = [block for block in blocks if "millrace" in block]
        self.assertEqual(len(programs), 2)
        env = {**self.engine.env, "PYTHONPATH": os.path.dirname(_MODULE)}
        writer = subprocess.run([sys.executable, "-c", programs[0]], env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual((writer.returncode, writer.stderr), (0, ""))
        with subprocess.Popen([sys.executable, "-u", "-c", programs[1]], env=env, stdout=subprocess.PIPE, text=True) as reader:
            self.addCleanup(reader.kill)
            assert reader.stdout is not None
            self.assertEqual(reader.stdout.readline(), "0 b'{\"reading\":0}'\n")
            # Whenever its subscription begins, one of these comes after that.
            lines: "list[str]" = []
            while not lines:
                with millrace.Producer("readings") as producer:
                    producer.append(b"live")
                lines = _line_within(reader, 0.2)
            self.assertRegex(lines[0], r"^\d+ b'live'\n$")
            reader.kill()

    def test_the_module_is_written_in_the_language_of_python_3_9(self) -> None:
        with open(_MODULE, encoding="utf-8") as file:
            source = file.read()
        ast.parse(source, feature_version=(3, 9))
        imported = set(re.findall(r"^(?:from|import) ([a-z_0-9]+)", source, re.MULTILINE))
        if hasattr(sys, "stdlib_module_names"):
            self.assertLessEqual(imported, sys.stdlib_module_names)


def _line_within(program: "subprocess.Popen[str]", seconds: float) -> "list[str]":
    assert program.stdout is not None
    ready, _, _ = select.select([program.stdout], [], [], seconds)
    return [program.stdout.readline()] if ready else []


if __name__ == "__main__":
    unittest.main()
