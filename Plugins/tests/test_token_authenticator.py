#!/usr/bin/env python3
"""The token authenticator as a host meets it: the built file, through the C ABI. Standard library only.

    Plugins/tests/test_token_authenticator.py OUTDIR     (what Plugins/build.sh wrote)
"""

import ctypes
import hashlib
import json
import os
import random
import secrets
import statistics
import sys
import threading
import time
import unittest
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from abi import Bytes, Host, Plugin  # noqa: E402

OUT = Path(sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else os.environ.get("SKEIN_PLUGINS", ".")).resolve()
OK, FAILED, DENIED, BAD_CONFIG, UNSUPPORTED = 0, 1, 4, 5, 6
LATER = 4_000_000_000_000


class Async(Structure):
    _fields_ = [("size", c_uint32), ("pad", c_uint32),
                ("complete", CFUNCTYPE(c_int32, c_void_p, c_uint64, c_int32, Bytes)),
                ("is_cancelled", CFUNCTYPE(c_int32, c_void_p, c_uint64))]


class Log(Structure):
    _fields_ = [("size", c_uint32), ("pad", c_uint32), ("write", CFUNCTYPE(None, c_void_p, c_uint64, c_int32, Bytes))]


class Peer(Structure):
    _fields_ = [("size", c_uint32), ("certificates", c_uint32), ("chain", POINTER(Bytes)), ("server_name", Bytes),
                ("address", Bytes), ("tls_exporter", Bytes)]


class Table(Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32),
                ("create", CFUNCTYPE(c_int32, POINTER(Host), c_uint64, Bytes, POINTER(c_void_p), POINTER(Bytes))),
                ("quiesce", CFUNCTYPE(None, c_void_p, c_uint64)), ("destroy", CFUNCTYPE(None, c_void_p)),
                ("step", CFUNCTYPE(None, c_void_p, c_uint64, c_uint64, c_uint64, Bytes, POINTER(Peer), Bytes)),
                ("end", CFUNCTYPE(None, c_void_p, c_uint64)), ("cancel", CFUNCTYPE(None, c_void_p, c_uint64))]


answers, arrived, lines = {}, threading.Condition(), []


def complete(ctx, call, status, result):
    with arrived:
        late = call in answers
        answers.setdefault(call, (status, ctypes.string_at(result.ptr, result.len) if result.len else b""))
        arrived.notify_all()
    return int(late)


ASYNC = Async(ctypes.sizeof(Async), 0, Async._fields_[2][1](complete), Async._fields_[3][1](lambda ctx, call: 0))
LOG = Log(ctypes.sizeof(Log), 0, Log._fields_[2][1](
    lambda ctx, instance, level, text: lines.append(ctypes.string_at(text.ptr, text.len))))
SERVICES = {b"skein.host.async/1": ctypes.addressof(ASYNC), b"skein.host.log/1": ctypes.addressof(LOG)}
HOST = Host(ctypes.sizeof(Host), 0, None, CFUNCTYPE(c_void_p, c_void_p, c_char_p)(lambda ctx, name: SERVICES.get(name)))


def lend(data):
    buffer = ctypes.create_string_buffer(data, max(len(data), 1))
    value = Bytes(ctypes.addressof(buffer), len(data))
    value.buffer = buffer
    return value


class Authenticator:
    library = None
    calls = iter(range(1, 1 << 40))

    def __init__(self, config):
        if Authenticator.library is None:
            Authenticator.library = ctypes.CDLL(str(OUT / "token-authenticator" / "plugin.so"), mode=ctypes.RTLD_LOCAL)
            Authenticator.library.skein_plugin_entry.restype = POINTER(Plugin)
        self.plugin = self.library.skein_plugin_entry(byref(HOST)).contents
        self.table = ctypes.cast(self.plugin.get(b"skein.authenticator/1"), POINTER(Table)).contents
        self.instance, why = c_void_p(), Bytes()
        text = lend(config if isinstance(config, bytes) else json.dumps(config).encode())
        self.status = self.table.create(byref(HOST), 1, text, byref(self.instance), byref(why))
        self.why = ctypes.string_at(why.ptr, why.len).decode() if why.len else ""

    def start(self, message, mechanism=b"bearer"):
        call, peer = next(self.calls), Peer(ctypes.sizeof(Peer))
        self.table.step(self.instance, call, time.monotonic_ns() + 2_000_000_000, call, lend(mechanism), byref(peer), lend(message))
        return call

    def wait(self, call):
        with arrived:
            assert arrived.wait_for(lambda: call in answers, 5), "no answer within 5 s"
            return answers[call]

    def step(self, message, mechanism=b"bearer"):
        return self.wait(self.start(message, mechanism))


def token(principal="ann", expires=LATER, tenant="default"):
    identity, secret = secrets.token_hex(8), secrets.token_hex(32)
    row = {"id": identity, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "tenant": tenant,
           "principal": principal, "expires_ms": expires}
    return f"skein_{identity}_{secret}".encode(), row


def result(tenant, principal, expires):
    """An encoded AuthenticateResult."""
    varint = b""
    while expires > 127:
        varint, expires = varint + bytes([expires & 127 | 128]), expires >> 7
    return (b"\x0a" + bytes([len(tenant)]) + tenant.encode() + b"\x12" + bytes([len(principal)]) + principal.encode()
            + b"\x20" + varint + bytes([expires]))


class TokenAuthenticator(unittest.TestCase):
    def setUp(self):
        self.good, row = token()
        self.other, other = token("bob", tenant="acme")
        self.expired, old = token(expires=1)
        self.plugin = Authenticator({"tokens": [row, other, old]})
        self.assertEqual(self.plugin.status, OK)

    def test_who_has_a_token_is_its_principal(self):
        self.assertEqual(self.plugin.step(self.good), (OK, result("default", "ann", LATER)))
        self.assertEqual(self.plugin.step(self.other), (OK, result("acme", "bob", LATER)))

    def test_file_and_manifest_say_the_same(self):
        manifest = json.loads((OUT / "token-authenticator" / "manifest.json").read_text())
        self.assertEqual((self.plugin.plugin.id.decode(), self.plugin.plugin.version.decode()), (manifest["id"], manifest["version"]))

    def test_everything_else_is_denied(self):
        good, other = self.good, self.other
        wrong = [b"", b"skein_", b"x" * 87, self.expired, good + b"0", good + b"\0", b" " + good, good.upper(),
                 good[:23] + other[23:], other[:23] + good[23:], b"skein_" + b"0" * 16 + b"_" + good[23:],
                 good.replace(b"_", b"-"), b"Bearer " + good, good * 2, b"\xff" * 87, b"a" * 100_000]
        wrong += [good[:length] for length in range(len(good))]
        wrong += [good[:at] + (b"1" if good[at:at + 1] == b"0" else b"0") + good[at + 1:] for at in range(len(good))]
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        wrong += [dice.randbytes(dice.randrange(200)) for _ in range(2_000)]
        for message in wrong:
            self.assertEqual(self.plugin.step(message), (DENIED, b""), f"seed {seed}: {message!r}")
        self.assertEqual(self.plugin.step(good)[0], OK)

    def test_other_mechanisms(self):
        for mechanism in (b"", b"scram-sha-256", b"BEARER", b"bearer "):
            self.assertIn(self.plugin.step(self.good, mechanism)[0], (UNSUPPORTED, FAILED, DENIED))

    def test_bad_tables_are_refused_and_secrets_are_not_repeated(self):
        _, row = token()
        for config in (b"", b"{", b"[]", {}, {"tokens": 1}, {"tokens": [{}]}, {"tokens": [dict(row, sha256="00")]},
                       {"tokens": [dict(row, sha256="g" * 64)]}, {"tokens": [dict(row, principal="")]},
                       {"tokens": [dict(row, expires_ms="x")]}, {"tokens": [row, row]}):
            plugin = Authenticator(config)
            self.assertEqual(plugin.status, BAD_CONFIG, config)
            self.assertTrue(plugin.why)
            self.assertNotIn(row["sha256"], plugin.why)
        self.assertEqual(Authenticator({"tokens": []}).step(self.good), (DENIED, b""))

    def test_instances_share_nothing_and_many_ask_at_once(self):
        second, row = token("eve")
        other = Authenticator({"tokens": [row]})
        self.assertEqual(other.step(self.good)[0], DENIED)
        self.assertEqual(self.plugin.step(second)[0], DENIED)
        calls = [(self.plugin if n % 2 else other).start(self.good) for n in range(1_000)]
        self.assertEqual([self.plugin.wait(call)[0] for call in calls], [OK if n % 2 else DENIED for n in range(1_000)])

    def test_a_full_table(self):
        rows = [token(f"p{n}") for n in range(3_000)]
        start = time.perf_counter()
        plugin = Authenticator({"tokens": [row for _, row in rows]})
        took = time.perf_counter() - start
        self.assertEqual(plugin.status, OK)
        self.assertTrue(all(plugin.step(text)[0] == OK for text, _ in rows[::100]))
        times = []
        for _ in range(500):
            start = time.perf_counter()
            plugin.step(self.good)
            times.append(time.perf_counter() - start)
        print(f"\n3000 tokens: made in {took * 1e3:.0f} ms, {statistics.median(times) * 1e6:.0f} us a question", file=sys.stderr)

    def test_quiesce_and_destroy(self):
        done = next(Authenticator.calls)
        self.plugin.table.quiesce(self.plugin.instance, done)
        self.assertEqual(self.plugin.wait(done)[0], OK)
        self.plugin.table.destroy(self.plugin.instance)

    def test_nothing_secret_is_logged(self):
        for message in (self.good, self.good[:-1], self.expired):
            self.plugin.step(message)
        self.assertFalse([line for line in lines if self.good[23:55] in line or self.expired[23:55] in line], lines)


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1] + sys.argv[2:], exit=False).result
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    sys.exit(bad > 0)
