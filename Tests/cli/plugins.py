"""Plug-in packages, made by hand: a second writer of the container (Docs/formats/plugin-package.md), and `cc`."""

import hashlib
import json
import platform
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

SOURCE = """
#include "skein_plugin.h"
#include <string.h>
%(mark)s
static skein_status create(const skein_host *h, uint64_t i, skein_bytes c, void **self, skein_bytes *why) {
  (void)h; (void)i; (void)c; (void)why; *self = 0; return SKEIN_OK; }
static void destroy(void *self) { (void)self; }
static void batch(void *self, const skein_topic *topic, const skein_records *records, int32_t *out) {
  (void)self;
  for (uint32_t i = 0; i < records->count; i++) {
    uint32_t sum = 0;
    %(each)s
    for (size_t k = 0; k < records->keys[i].len; k++) sum = sum * 31u + records->keys[i].ptr[k];
    out[i] = records->keys[i].ptr ? (int32_t)(sum %% (uint32_t)topic->partitions) : SKEIN_ANY_PARTITION;
  }
}
static const skein_partitioner partitioner = {
  sizeof(skein_partitioner), SKEIN_PARTITIONER_PURE, {create, 0, destroy}, batch};
static const void *get(const char *kind) { return strcmp(kind, SKEIN_PARTITIONER) ? 0 : &partitioner; }
static const skein_plugin plugin = {sizeof(skein_plugin), SKEIN_ABI_MINOR, "%(id)s", "%(version)s", get};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) { (void)host; %(entry)s return &plugin; }
"""

MARK = "SKEIN_PLUGIN_ABI_MARK;"


def compile_plugin(folder, id="com.acme.sticky", version="1.0.0", mark=MARK, entry="", each="", flags=()):
    """A C plug-in, from the public header alone."""
    folder.mkdir(parents=True, exist_ok=True)
    source, output = folder / "plugin.c", folder / "plugin.so"
    source.write_text(SOURCE % {"mark": mark, "id": id, "version": version, "entry": entry, "each": each})
    subprocess.run(
        ["cc", "-std=c11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete",
         *flags, "-I", ROOT / "Sources/CSkeinPlugin/include", "-o", output, source], check=True)
    source.unlink()
    return output


def template(folder, id="com.acme.sticky", version="1.0.0", **members):
    """A manifest for `skein plugin pack`."""
    (folder / "manifest.json").write_text(json.dumps({
        "id": id, "version": version, "kinds": ["skein.partitioner/1"], "runtime": "c", "pure": True,
        "publisher": "Acme", **members}))


@dataclass
class Package:
    manifest: bytes
    key_id: str = ""
    signature: bytes = b""
    files: list = field(default_factory=list)

    @classmethod
    def read(cls, path):
        data = Path(path).read_bytes()
        magic, manifest, signature, count, zero = struct.unpack_from("<8sIIII", data)
        assert magic == b"SKNPLUG1" and zero == 0 and signature in (0, 72)
        lengths = struct.unpack_from(f"<{count}Q", data, 24)
        at = 24 + 8 * count
        package = cls(data[at:at + manifest])
        at += manifest
        if signature:
            package.key_id, package.signature = data[at:at + 8].hex(), data[at + 8:at + 72]
        at += signature
        for length in lengths:
            package.files.append(data[at:at + length])
            at += length
        assert at == len(data)
        return package

    def write(self, path):
        seal = bytes.fromhex(self.key_id) + self.signature if self.signature else b""
        Path(path).write_bytes(
            struct.pack("<8sIIII", b"SKNPLUG1", len(self.manifest), len(seal), len(self.files), 0)
            + b"".join(struct.pack("<Q", len(file)) for file in self.files)
            + self.manifest + seal + b"".join(self.files))
        return path

    def edit(self, change, key, folder):
        """Changes the manifest as its author could, and signs it again with `openssl`."""
        members = json.loads(self.manifest)
        change(members)
        self.manifest = json.dumps(members).encode()
        self.sign(key, folder)
        return self

    def sign(self, key, folder):
        (folder / "m").write_bytes(self.manifest)
        subprocess.run(
            ["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", folder / "m", "-out", folder / "s"],
            check=True)
        der = subprocess.run(
            ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
        self.key_id = hashlib.sha256(der).hexdigest()[:16]
        self.signature = (folder / "s").read_bytes()
