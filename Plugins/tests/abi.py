"""The plug-in ABI in ctypes: a host that knows skein_plugin.h only by its layout (Docs/formats/plugin-abi.md)."""

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p


class Bytes(Structure):
    _fields_ = [("ptr", c_void_p), ("len", c_size_t)]


class Host(Structure):
    _fields_ = [("size", c_uint32), ("abi_minor", c_uint32), ("ctx", c_void_p), ("get", CFUNCTYPE(c_void_p, c_void_p, c_char_p))]


class Topic(Structure):
    _fields_ = [("size", c_uint32), ("partitions", c_int32), ("weights", POINTER(c_uint32)), ("id", c_uint8 * 16)]


class Records(Structure):
    _fields_ = [("size", c_uint32), ("count", c_uint32), ("keys", POINTER(Bytes)), ("timestamps", POINTER(c_int64)),
                ("header_names", c_uint32), ("pad", c_uint32), ("headers", POINTER(Bytes))]


class PartitionerTable(Structure):
    _fields_ = [("size", c_uint32), ("flags", c_uint32),
                ("create", CFUNCTYPE(c_int32, POINTER(Host), c_uint64, Bytes, POINTER(c_void_p), POINTER(Bytes))),
                ("quiesce", c_void_p), ("destroy", CFUNCTYPE(None, c_void_p)),
                ("batch", CFUNCTYPE(None, c_void_p, POINTER(Topic), POINTER(Records), POINTER(c_int32)))]


class Plugin(Structure):
    _fields_ = [("size", c_uint32), ("abi_minor", c_uint32), ("id", c_char_p), ("version", c_char_p),
                ("get", CFUNCTYPE(c_void_p, c_char_p))]


NO_SERVICES = Host(ctypes.sizeof(Host), 0, None, CFUNCTYPE(c_void_p, c_void_p, c_char_p)(lambda ctx, name: None))


class Refused(Exception):
    def __init__(self, status, why):
        super().__init__(f"status {status}: {why}")
        self.status, self.why = status, why


def column(values):
    """An array of Bytes; None is a NULL pointer, empty bytes have an address."""
    blob = ctypes.create_string_buffer(b"".join(v or b"" for v in values) + b"\0")
    start, at, array = ctypes.addressof(blob), 0, (Bytes * len(values))()
    for index, value in enumerate(values):
        array[index] = Bytes(None if value is None else start + at, len(value or b""))
        at += len(value or b"")
    array.blob = blob  # lives as long as the array
    return array


class Partitioner:
    """One instance of a partitioner in a file."""

    def __init__(self, path, config=b"{}"):
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
        library.skein_plugin_entry.restype = POINTER(Plugin)
        self.plugin = library.skein_plugin_entry(byref(NO_SERVICES)).contents
        self.table = ctypes.cast(self.plugin.get(b"skein.partitioner/1"), POINTER(PartitionerTable)).contents
        self.instance, why = c_void_p(), Bytes()
        text = ctypes.create_string_buffer(config)
        status = self.table.create(
            byref(NO_SERVICES), 1, Bytes(ctypes.addressof(text), len(config)), byref(self.instance), byref(why))
        if status != 0:
            raise Refused(status, ctypes.string_at(why.ptr, why.len).decode())

    def prepare(self, keys, partitions, weights=None, headers=None):
        """A function that places these records and returns the answers."""
        topic = Topic(ctypes.sizeof(Topic), partitions)
        if weights is not None:
            topic.weights = (c_uint32 * partitions)(*weights)
        records = Records(ctypes.sizeof(Records), len(keys), column(keys))
        flat = [value for row in headers or [] for value in row]
        if flat:
            records.header_names, records.headers = len(headers[0]), column(flat)
        out = (c_int32 * len(keys))()

        def run():
            self.table.batch(self.instance, byref(topic), byref(records), out)
            return out
        return run

    def place(self, keys, partitions, **columns):
        return list(self.prepare(keys, partitions, **columns)())

    def close(self):
        self.table.destroy(self.instance)
