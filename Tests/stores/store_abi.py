"""An offset store's file through the C ABI (Docs/formats/plugin-abi.md), as the broker's child calls it: a host in ctypes,
and the messages of offset_store.proto written and read by hand, so that nothing of ours judges itself."""

import ctypes
import json
import pathlib
import sys
import threading
import time
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Plugins" / "tests"))
from abi import Bytes, Host, Plugin  # noqa: E402

OK, FAILED, CANCELLED, RETRY_LATER, DENIED, BAD_CONFIG, UNSUPPORTED = range(7)
TOPIC = "000102030405060708090a0b0c0d0e0f"
CALL = CFUNCTYPE(None, c_void_p, c_uint64, c_uint64, Bytes)


class Table(Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32),
                ("create", CFUNCTYPE(c_int32, POINTER(Host), c_uint64, Bytes, POINTER(c_void_p), POINTER(Bytes))),
                ("quiesce", CFUNCTYPE(None, c_void_p, c_uint64)), ("destroy", CFUNCTYPE(None, c_void_p)),
                ("commit", CALL), ("fetch", CALL), ("scan", CALL), ("remove", CALL), ("cancel", CFUNCTYPE(None, c_void_p, c_uint64))]


class Log(Structure):
    _fields_ = [("size", c_uint32), ("pad", c_uint32), ("write", CFUNCTYPE(None, c_void_p, c_uint64, c_int32, Bytes))]


class Config(Structure):
    _fields_ = [("size", c_uint32), ("pad", c_uint32),
                ("lookup", CFUNCTYPE(c_int32, c_void_p, c_uint64, Bytes, POINTER(Bytes)))]


class Async(Structure):
    _fields_ = [("size", c_uint32), ("pad", c_uint32),
                ("complete", CFUNCTYPE(c_int32, c_void_p, c_uint64, c_int32, Bytes)),
                ("is_cancelled", CFUNCTYPE(c_int32, c_void_p, c_uint64))]


# ---- Messages ----


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def text(field, value):
    raw = value if isinstance(value, bytes) else value.encode()
    return varint(field << 3 | 2) + varint(len(raw)) + raw if raw else b""


def message(field, raw):
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def stored(partition, offset, epoch=0, topic=TOPIC, metadata="", leader=0, ms=0):
    return (text(1, topic) + number(2, partition) + number(3, offset) + number(4, leader) + text(5, metadata) + number(6, ms)
            + number(7, epoch))


def names(partitions):
    return b"".join(message(3, text(1, TOPIC) + number(2, p)) for p in partitions)


def fields(raw):
    at, out = 0, []
    while at < len(raw):
        key, at = read_varint(raw, at)
        if key & 7 == 0:
            value, at = read_varint(raw, at)
        else:
            assert key & 7 == 2, key
            size, at = read_varint(raw, at)
            value, at = raw[at:at + size], at + size
            assert len(value) == size
        out.append((key >> 3, value))
    return out


def read_varint(raw, at):
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def page(raw):
    """[(group, [offset as a dict])], token"""
    groups, token = [], ""
    for field, value in fields(raw):
        if field == 2:
            token = value.decode()
            continue
        group, offsets = "", []
        for inner, part in fields(value):
            if inner == 1:
                group = part.decode()
            else:
                f = dict(fields(part))
                offsets.append(dict(
                    topic=f[1].decode(), partition=f.get(2, 0), offset=f.get(3, 0), leader=f.get(4, 0),
                    metadata=f.get(5, b"").decode(), ms=f.get(6, 0), epoch=f.get(7, 0)))
        groups.append((group, offsets))
    return groups, token


# ---- The host ----


class Refused(Exception):
    pass


class Failed(Exception):
    def __init__(self, status, seconds):
        super().__init__(f"status {status} after {seconds:.2f} s")
        self.status, self.seconds = status, seconds


class Store:
    """One instance. Any thread may call."""

    numbers = iter(range(1, 1 << 30))
    tokens = iter(range(1, 1 << 60))

    def __init__(self, file, config, tenant="default"):
        self.tenant, self.lines, self.ended, self.condition = tenant, [], {}, threading.Condition()
        self.kept, self.config = [], config
        library = ctypes.CDLL(str(file), mode=ctypes.RTLD_LOCAL)
        library.skein_plugin_entry.restype = POINTER(Plugin)
        self.services = {
            b"skein.host.log/1": Log(ctypes.sizeof(Log), 0, Log._fields_[2][1](self._write)),
            b"skein.host.config/1": Config(ctypes.sizeof(Config), 0, Config._fields_[2][1](self._lookup)),
            b"skein.host.async/1": Async(
                ctypes.sizeof(Async), 0, Async._fields_[2][1](self._complete), Async._fields_[3][1](lambda ctx, call: 0)),
        }
        get = Host._fields_[3][1](lambda ctx, name: ctypes.addressof(self.services[name]) if name in self.services else None)
        self.host = Host(ctypes.sizeof(Host), 0, None, get)
        plugin = library.skein_plugin_entry(byref(self.host)).contents
        self.table = ctypes.cast(plugin.get(b"skein.offset-store/1"), POINTER(Table)).contents
        raw, self.self, why = json.dumps(config).encode(), c_void_p(), Bytes()
        buffer = ctypes.create_string_buffer(raw)
        status = self.table.create(
            byref(self.host), next(self.numbers), Bytes(ctypes.addressof(buffer), len(raw)), byref(self.self), byref(why))
        if status != OK:
            raise Refused(f"{status} {ctypes.string_at(why.ptr, why.len).decode()}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        if self.self is not None:
            self.table.destroy(self.self)
            self.self = None

    def _write(self, ctx, instance, level, line):
        self.lines.append((time.monotonic(), level, ctypes.string_at(line.ptr, line.len).decode(errors="replace")))

    def log(self):
        return "\n".join(line for _, _, line in self.lines)

    def _lookup(self, ctx, instance, key, out):
        value = self.config
        for part in ctypes.string_at(key.ptr, key.len).decode().split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, dict) or "secret_file" not in value:
            return 1
        try:
            raw = pathlib.Path(value["secret_file"]).read_bytes()
        except OSError:
            return 1
        self.kept.append(ctypes.create_string_buffer(raw))
        out[0] = Bytes(ctypes.addressof(self.kept[-1]), len(raw))
        return 0

    def _complete(self, ctx, call, status, result):
        raw = ctypes.string_at(result.ptr, result.len) if result.len else b""
        with self.condition:
            again = call in self.ended and self.ended[call] is not None
            self.ended.setdefault(call, None)
            assert not again, f"call {call} completed twice"
            self.ended[call] = (status, raw, time.monotonic())
            self.condition.notify_all()
        return 0

    # ---- Calls ----

    def begin(self, what, request, seconds=5.0):
        call = next(self.tokens)
        buffer = ctypes.create_string_buffer(request, len(request))
        getattr(self.table, what)(
            self.self, call, int((time.monotonic() + seconds) * 1e9), Bytes(ctypes.addressof(buffer), len(request)))
        return call

    def wait(self, call, seconds=20.0):
        start = time.monotonic()
        with self.condition:
            if not self.condition.wait_for(lambda: self.ended.get(call) is not None, seconds):
                raise AssertionError(f"a call was not completed within {seconds} s")
            status, raw, _ = self.ended[call]
        if status != OK:
            raise Failed(status, time.monotonic() - start)
        return raw

    def commit_request(self, group, epoch, offsets, **more):
        return (text(1, self.tenant) + text(2, group) + number(3, epoch)
                + b"".join(message(4, stored(p, o, epoch, **more)) for p, o in offsets))

    def commit(self, group, epoch, offsets, seconds=5.0, **more):
        self.wait(self.begin("commit", self.commit_request(group, epoch, offsets, **more), seconds))

    def rows(self, group, partitions=(), seconds=5.0):
        raw = self.wait(self.begin("fetch", text(1, self.tenant) + text(2, group) + names(partitions), seconds))
        groups, token = page(raw)
        assert token == "" and all(name == group for name, _ in groups), groups
        return [row for _, rows in groups for row in rows]

    def fetch(self, group, partitions=(), seconds=5.0):
        return {row["partition"]: row["offset"] for row in self.rows(group, partitions, seconds)}

    def scan(self, limit):
        token, out = "", []
        while True:
            groups, token = page(self.wait(self.begin("scan", text(1, self.tenant) + text(2, token) + number(3, limit))))
            rows = [(name, row["topic"], row["partition"], row["offset"]) for name, part in groups for row in part]
            assert len(rows) <= limit
            out += rows
            if not token:
                return out

    def remove(self, group, partitions=()):
        self.wait(self.begin("remove", text(1, self.tenant) + text(2, group) + names(partitions)))

    def until_up(self, seconds=20.0):
        """Waits until it answers; how long that took."""
        start = time.monotonic()
        while True:
            try:
                self.fetch("nobody", seconds=2)
                return time.monotonic() - start
            except Failed as failed:
                if time.monotonic() - start > seconds:
                    raise AssertionError(f"not up after {seconds} s: {self.log()}") from failed
                time.sleep(0.02)


def status_of(body):
    """The status with which it fails; OK if it does not."""
    try:
        body()
        return OK
    except Failed as failed:
        return failed.status
