#!/usr/bin/env python3
"""What `skein plugin new` writes, for every kind in C and Swift: it builds, passes its own tests and the conformance kit.

    Tests/plugins/new_plugins.py FOLDER-OF-PROGRAMS

(The Swift partitioner is newcomer.py's.) Standard library only. Ends with "N passed, N failed".
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAMS = Path(sys.argv[1]).resolve()
KIT = {"partitioner": [], "offset-store": [],
       "authenticator": ["--config", '{"token": "0123456789abcdef", "principal": "me"}',
                         "--credential", "bearer:0123456789abcdef"]}


def run(*command, folder=None):
    return subprocess.run([str(part) for part in command], cwd=folder, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600)


class NewPlugins(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.work = Path(self.place.name)

    def skein(self, *words):
        return run(PROGRAMS / "skein", "plugin", *words, folder=self.work)

    def done(self, result):
        self.assertEqual(result.returncode, 0, result.stdout[-3000:])
        return result.stdout

    def written(self, kind, language):
        self.done(self.skein("new", "my-plugin", "--kind", kind, "--lang", language, "--id", "com.acme.mine"))
        folder = self.work / "my-plugin"
        for file in folder.rglob("*"):
            self.assertFalse(file.is_file() and "{{" in file.read_text(), f"{file} has a word that was not filled in")
        self.assertEqual(json.loads((folder / "manifest.json").read_text())["id"], "com.acme.mine")
        self.done(run("./build.sh", folder=folder))
        return folder

    def conforms(self, folder, kind):
        output = self.done(self.skein("test", folder / "out/plugin.so", "--fuzz-seconds", "0.2", *KIT[kind]))
        self.assertIn(" 0 failed", output)

    def test_c(self):
        for kind in KIT:
            with self.subTest(kind), tempfile.TemporaryDirectory() as name:
                self.work = Path(name)
                folder = self.written(kind, "c")
                self.assertIn(" passed", self.done(run("./test.sh", folder=folder)))
                self.conforms(folder, kind)

    def test_swift_offset_store(self):
        folder = self.written("offset-store", "swift")
        self.done(run("./test.sh", folder=folder))
        self.conforms(folder, "offset-store")

    def test_swift_authenticator(self):
        folder = self.written("authenticator", "swift")
        self.done(run("./test.sh", folder=folder))
        self.conforms(folder, "authenticator")

    def test_a_packed_one_is_sound(self):
        self.written("partitioner", "c")
        self.done(self.skein("keygen", "author"))
        self.done(self.skein("pack", "my-plugin/out", "--key", "author.key", "--to", "mine.skeinplug"))
        self.assertIn("com.acme.mine@1.0.0", self.done(self.skein("verify", "mine.skeinplug", "--key", "author.pem")))

    def test_what_is_there_is_never_overwritten(self):
        (self.work / "my-plugin").mkdir()
        (self.work / "my-plugin/precious").write_text("x")
        result = self.skein("new", "my-plugin")
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertIn("is not empty", result.stdout)
        self.assertEqual(os.listdir(self.work / "my-plugin"), ["precious"])

    def test_names_that_cannot_be(self):
        for words, said in [(["My"], "beginning with a letter"), (["a/../b"], "a-z 0-9"), (["x" * 41], "1 to 40"),
                            (["a-"], "not ending with -"), (["a", "--id", "mine"], "reverse domain name"),
                            (["a", "--kind", "partitoner"], "partitioner"), (["a", "--lang", "go"], "'swift' and 'c'")]:
            result = self.skein("new", *words)
            self.assertEqual(result.returncode, 2, f"{words}: {result.stdout}")
            self.assertIn(said, result.stdout)
        self.assertEqual(os.listdir(self.work), [])


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False).result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    sys.exit(bad > 0)
