#!/usr/bin/env python3
"""Writes, from a protobuf descriptor set, the umbrella of CSkeinProto and the Swift values of Wire.

    generate-wire.py DESCRIPTORS C_INCLUDE_DIR SWIFT_DIR PROTO_FILE...

Called by generate-proto.sh; standard library only. For each message there is one Swift struct with
value semantics that is read from protobuf-c's struct and written by Wire's own writer.

How things are named: a message keeps its name (PREFIXES gives the exceptions); `topic_id` becomes
`topicID`; a oneof of one field is an Optional named after the field; a oneof of several is an enum;
a proto enum is an open struct, because proto3 enums are open.
"""

import re
import sys
from pathlib import Path

# Swift names of the messages of each package: prefix and suffix.
PREFIXES = {
    "skein.v1": ("", ""),
    "skein.internal.v1": ("", ""),
    "skein.plugin.v1": ("Plugin", ""),
    "grpc.health.v1": ("", ""),
    "grpc.reflection.v1": ("", ""),
    "google.rpc": ("", ""),
    "google.protobuf": ("", "Message"),  # Any and Duration are taken in Swift
}
OTHER = ("Etcd", "")  # etcdserverpb, mvccpb, ...: their names are as general as `Event`

# Top-level fields that protobuf-c never sees: they become slices of the received message.
SLICED = {
    "skein.v1.PublishStreamRequest": ["batch"],
    "skein.v1.PublishRequest": ["records"],
    "skein.v1.PublishResponse": ["results"],
    "skein.v1.ReadResponse": ["batches"],
    "skein.v1.SubscribeResponse": ["batches"],
    "skein.v1.FetchResponse": ["partitions"],
    "skein.v1.PartitionRecords": ["batches", "records"],
}
# Bytes that may be sent from several places without being joined first.
PAYLOADS = {("skein.v1.ReadResponse", "batches"), ("skein.v1.PartitionRecords", "batches"),
            ("skein.v1.SubscribeResponse", "batches")}
# Packages whose `bytes` are slices (SharedBytes); elsewhere they are small and copied ([UInt8]).
SHARED = {"skein.v1"}
# (InstallPluginRequest.chunk and AssignRequest.keys are slices as every `bytes` there.)

SCALARS = {3: ("int64", "Int64"), 4: ("uint64", "UInt64"), 5: ("int32", "Int32"),
           8: ("bool", "Bool"), 13: ("uint32", "UInt32")}
STRING, MESSAGE, BYTES, ENUM = 9, 11, 12, 14
REPEATED = 3


# -- Reading the descriptor set -----------------------------------------------------------------

def fields_of(data):
    """The (number, value) pairs of one message; value is an int or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            length = varint()
            yield tag >> 3, data[at:at + length]
            at += length
        else:
            raise SystemExit(f"descriptor set: wire type {tag & 7} is not expected")


def group(data):
    out = {}
    for number, value in fields_of(data):
        out.setdefault(number, []).append(value)
    return out


def text(fields, number):
    return fields.get(number, [b""])[0].decode()


def packed(data):
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(value)
            value = shift = 0
    return tuple(out)


class Field:
    def __init__(self, data, doc):
        f = group(data)
        self.name = text(f, 1)
        self.number = f[3][0]
        self.repeated = f[4][0] == REPEATED
        self.type = f[5][0]
        self.type_name = text(f, 6).lstrip(".")
        self.oneof = f[9][0] if 9 in f else None
        self.doc = doc
        self.swift = swift_name(self.name)
        self.c = self.name.lower()


class Message:
    def __init__(self, data, package, outer, path, docs):
        f = group(data)
        self.name, self.package, self.outer = text(f, 1), package, outer
        self.full = (outer.full if outer else package) + "." + self.name
        self.doc = docs.get(path, "")
        self.fields = [Field(d, docs.get(path + (2, i), "")) for i, d in enumerate(f.get(2, []))]
        self.oneofs = [text(group(d), 1) for d in f.get(8, [])]
        self.nested = [Message(d, package, self, path + (3, i), docs)
                       for i, d in enumerate(f.get(3, []))]
        self.enums = [Enum(d, package, self, path + (4, i), docs)
                      for i, d in enumerate(f.get(4, []))]
        self.is_map_entry = 7 in f and 7 in group(f[7][0])

    def members(self, index):
        return [f for f in self.fields if f.oneof == index]


class Enum:
    def __init__(self, data, package, outer, path, docs):
        f = group(data)
        self.name, self.package, self.outer = text(f, 1), package, outer
        self.full = (outer.full if outer else package) + "." + self.name
        self.doc = docs.get(path, "")
        self.values = []
        for i, value in enumerate(f.get(2, [])):
            v = group(value)
            self.values.append((text(v, 1), v.get(2, [0])[0], docs.get(path + (2, i), "")))


class File:
    def __init__(self, data):
        f = group(data)
        self.name, self.package = text(f, 1), text(f, 2)
        docs = {}
        for info in f.get(9, []):
            for location in group(info).get(1, []):
                where = group(location)
                note = text(where, 3) or text(where, 4)
                if note and 1 in where and self.package != "google.protobuf":
                    docs[packed(where[1][0])] = note
        self.messages = [Message(d, self.package, None, (4, i), docs)
                         for i, d in enumerate(f.get(4, []))]
        self.enums = [Enum(d, self.package, None, (5, i), docs) for i, d in enumerate(f.get(5, []))]
        self.services = []
        for i, d in enumerate(f.get(6, [])):
            s = group(d)
            self.services.append((text(s, 1), docs.get((6, i), ""),
                                  [text(group(m), 1) for m in s.get(2, [])]))


# -- Names ----------------------------------------------------------------------------------------

KEYWORDS = {"default", "in", "is", "as", "self", "where", "case", "func", "var", "let", "repeat",
            "operator", "protocol", "internal", "extension", "return", "init"}


def swift_name(snake):
    words = snake.lower().split("_") if "_" in snake or snake.isupper() else [snake]
    words = [w for w in words if w]
    out = words[0][0].lower() + words[0][1:]
    for word in words[1:]:
        out += "ID" if word == "id" else "IDs" if word == "ids" else word[0].upper() + word[1:]
    return f"`{out}`" if out in KEYWORDS else out


def value_name(enum, value):
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return swift_name(value[len(prefix):] if value.startswith(prefix) else value.lower())


def camel_to_lower(name):
    """As protoc-c does it: an underscore before the first capital of each run."""
    out, was_upper = "", True
    for ch in name:
        if ch.isupper() and not was_upper:
            out += "_"
        was_upper = ch.isupper()
        out += ch.lower()
    return out


def c_lower(full):
    return "__".join(camel_to_lower(part) for part in full.split("."))


def c_camel(full):
    def camel(part):
        return "".join(w[0].upper() + w[1:] for w in part.split("_") if w)
    return "__".join(camel(part) for part in full.split("."))


# -- Swift ----------------------------------------------------------------------------------------

class Generator:
    def __init__(self, files):
        self.types = {}
        for file in files:
            for item in file.messages + file.enums:
                self.register(item)
        self.lines, self.depth = [], 0

    def register(self, item):
        self.types[item.full] = item
        for nested in getattr(item, "nested", []) + getattr(item, "enums", []):
            self.register(nested)

    def type(self, full):
        item = self.types[full]
        if item.outer:
            return self.type(item.outer.full) + "." + item.name
        prefix, suffix = PREFIXES.get(item.package, OTHER)
        return prefix + item.name + suffix

    def emit(self, line=""):
        self.lines.append("  " * self.depth + line if line else "")

    def document(self, doc):
        lines = [line.strip() for line in doc.strip().split("\n")] if doc.strip() else []
        for line in lines:
            self.emit("/// " + line if line else "///")

    def entry(self, field):
        item = self.types.get(field.type_name)
        return item if isinstance(item, Message) and item.is_map_entry else None

    def element(self, message, field):
        if field.type in SCALARS:
            return SCALARS[field.type][1]
        if field.type == STRING:
            return "String"
        if field.type == BYTES:
            if (message.full, field.name) in PAYLOADS:
                return "Payload"
            return "SharedBytes" if message.package in SHARED else "[UInt8]"
        if field.type in (MESSAGE, ENUM):
            return self.type(field.type_name)
        raise SystemExit(f"{message.full}.{field.name}: type {field.type} is not supported")

    def oneof_enum(self, message, index):
        """The Swift enum's name, when this is a oneof of several members."""
        if index is None or len(message.members(index)) < 2:
            return None
        name = swift_name(message.oneofs[index])
        return name[0].upper() + name[1:]

    def properties(self, message):
        """(swift name, type, default, doc) in the order of declaration."""
        out, seen = [], set()
        for field in message.fields:
            enum = self.oneof_enum(message, field.oneof)
            if enum:
                if field.oneof not in seen:
                    seen.add(field.oneof)
                    out.append((swift_name(message.oneofs[field.oneof]), enum + "?", "nil", ""))
                continue
            element = self.element(message, field)
            if self.entry(field):
                kind, default = "[String: String]", "[:]"
            elif field.repeated:
                kind, default = f"[{element}]", "[]"
            elif field.oneof is not None or field.type == MESSAGE:
                kind, default = element + "?", "nil"
            elif field.type == STRING:
                kind, default = element, '""'
            elif field.type == BYTES:
                kind, default = element, "[]" if element == "[UInt8]" else ".empty"
            elif field.type == ENUM:
                kind, default = element, "." + value_name(
                    self.types[field.type_name], self.types[field.type_name].values[0][0])
            else:
                kind, default = element, "false" if element == "Bool" else "0"
            out.append((field.swift, kind, default, field.doc))
        return out

    def enum(self, enum):
        self.document(enum.doc)
        self.emit(f"package struct {enum.name if enum.outer else self.type(enum.full)}: WireEnum {{")
        self.depth += 1
        self.emit("package let rawValue: Int32")
        self.emit("package init(rawValue: Int32) { self.rawValue = rawValue }")
        for name, number, doc in enum.values:
            self.document(doc)
            self.emit(f"package static let {value_name(enum, name)} = Self(rawValue: {number})")
        self.depth -= 1
        self.emit("}")

    def message(self, message):
        self.document(message.doc)
        name = message.name if message.outer else self.type(message.full)
        self.emit(f"package struct {name}: WireMessage {{")
        self.depth += 1
        for enum in message.enums:
            self.enum(enum)
            self.emit()
        for nested in message.nested:
            if not nested.is_map_entry:
                self.message(nested)
                self.emit()
        for index in range(len(message.oneofs)):
            if self.oneof_enum(message, index):
                self.emit(f"package enum {self.oneof_enum(message, index)}: Sendable, Equatable {{")
                for field in message.members(index):
                    self.emit(f"  case {field.swift}({self.element(message, field)})")
                self.emit("}")
                self.emit()
        properties = self.properties(message)
        for prop, kind, default, doc in properties:
            self.document(doc)
            self.emit(f"package var {prop}: {kind}")
        self.emit()
        parameters = ", ".join(f"{p}: {k} = {d}" for p, k, d, _ in properties)
        self.emit(f"package init({parameters}) {{")
        for prop, *_ in properties:
            self.emit(f"  self.{prop} = {prop}")
        self.emit("}")
        self.emit()
        self.emit("package init(decoding bytes: SharedBytes, limits: WireLimits = .standard) throws(Fault) {")
        self.emit("  self = try MessageDecoder.decode(Self.self, bytes, limits)")
        self.emit("}")
        self.emit("package func encoded() -> [UInt8] { MessageEncoder.encode(self) }")
        self.emit("package func encodedParts() -> (head: [UInt8], payload: [SharedBytes]) {")
        self.emit("  MessageEncoder.encodeParts(self)")
        self.emit("}")
        self.emit("package var encodedSize: Int { MessageEncoder.size(self).total }")
        self.emit()
        self.write(message)
        self.depth -= 1
        self.emit("}")

    def write(self, message):
        if not message.fields:
            self.emit("package func write(to sink: inout some FieldSink) {}")
            return
        self.emit("package func write(to sink: inout some FieldSink) {")
        self.depth += 1
        done = set()
        for field in sorted(message.fields, key=lambda f: f.number):
            if self.oneof_enum(message, field.oneof):
                if field.oneof not in done:
                    done.add(field.oneof)
                    self.write_oneof(message, field.oneof)
            else:
                self.emit(f"sink.{self.verb(message, field)}({field.number}, {field.swift})")
        self.depth -= 1
        self.emit("}")

    def write_oneof(self, message, index):
        self.emit(f"switch {swift_name(message.oneofs[index])} {{")
        for field in message.members(index):
            verb = self.verb(message, field)
            self.emit(f"case .{field.swift}(let value): sink.{verb}({field.number}, value)")
        self.emit("case nil: break")
        self.emit("}")

    def verb(self, message, field):
        if self.entry(field):
            return "map"
        kind = (SCALARS[field.type][0] if field.type in SCALARS else
                {STRING: "string", BYTES: "bytes", MESSAGE: "message", ENUM: "enumeration"}[field.type])
        if field.type == BYTES and (self.element(message, field) == "Payload"
                                    or message.full in SLICED and field.name in SLICED[message.full]):
            kind = "payload"
        if field.repeated:
            return "byteStrings" if kind == "bytes" else kind + "s"
        if field.oneof is not None and field.type != MESSAGE:
            return "present" + kind[0].upper() + kind[1:]
        return kind

    # -- From protobuf-c --

    def unpack(self, message):
        name = self.type(message.full)
        self.emit(f"extension {name}: CMessage {{")
        self.depth += 1
        self.emit("static var descriptor: UnsafePointer<ProtobufCMessageDescriptor> {"
                  f" skein_descriptor__{c_lower(message.full)}() }}")
        sliced = [f for f in message.fields if f.name in SLICED.get(message.full, [])]
        if sliced:
            self.emit(f"static var slicedFields: [UInt32] {{ {[f.number for f in sliced]} }}")
        self.emit()
        self.emit(f"init(_ c: UnsafePointer<{c_camel(message.full)}>, _ arena: Arena) {{")
        self.emit("  self.init()")
        done = set()
        for field in message.fields:
            if self.oneof_enum(message, field.oneof):
                if field.oneof not in done:
                    done.add(field.oneof)
                    self.unpack_oneof(message, field.oneof)
            else:
                self.unpack_field(message, field)
        self.emit("}")
        if sliced:
            self.attach(message, sliced)
        self.depth -= 1
        self.emit("}")
        self.emit()
        for nested in message.nested:
            if not nested.is_map_entry:
                self.unpack(nested)

    def unpack_field(self, message, field):
        source = f"c.pointee.{field.c}"
        count = f"c.pointee.n_{field.c}"
        element = self.element(message, field)
        if self.entry(field):
            self.emit(f"  for i in 0..<{count} {{")
            self.emit(f"    guard let entry = {source}[i] else {{ continue }}")
            self.emit(f"    {field.swift}[arena.string(entry.pointee.key)] = arena.string(entry.pointee.value)")
            self.emit("  }")
        elif field.repeated and field.type == MESSAGE:
            self.emit(f"  {field.swift}.reserveCapacity({count})")
            self.emit(f"  for i in 0..<{count} {{")
            self.emit(f"    if let item = {source}[i] {{ {field.swift}.append({element}(item, arena)) }}")
            self.emit("  }")
        elif field.repeated:
            value = self.scalar(message, field, f"{source}[i]")
            self.emit(f"  {field.swift} = (0..<{count}).map {{ i in {value} }}")
        elif field.type == MESSAGE:
            guard = "" if field.oneof is None else f"{self.case(message, field)}, "
            self.emit(f"  if {guard}let item = {source} {{ {field.swift} = {element}(item, arena) }}")
        elif field.oneof is not None:
            self.emit(f"  if {self.case(message, field)} {{ {field.swift} = {self.scalar(message, field, source)} }}")
        else:
            self.emit(f"  {field.swift} = {self.scalar(message, field, source)}")

    def case(self, message, field):
        return f"c.pointee.{message.oneofs[field.oneof]}_case.rawValue == {field.number}"

    def scalar(self, message, field, source):
        element = self.element(message, field)
        if field.type == STRING:
            return f"arena.string({source})"
        if field.type == BYTES:
            return {"SharedBytes": f"arena.shared({source})", "[UInt8]": f"arena.copy({source})",
                    "Payload": f"Payload(arena.shared({source}))"}[element]
        if field.type == ENUM:
            return f"{element}(rawValue: Int32(truncatingIfNeeded: {source}.rawValue))"
        return f"({source} != 0)" if element == "Bool" else source

    def unpack_oneof(self, message, index):
        self.emit(f"  switch c.pointee.{message.oneofs[index]}_case.rawValue {{")
        prop = swift_name(message.oneofs[index])
        for field in message.members(index):
            source = f"c.pointee.{field.c}"
            if field.type == MESSAGE:
                self.emit(f"  case {field.number}: if let item = {source} {{"
                          f" {prop} = .{field.swift}({self.element(message, field)}(item, arena)) }}")
            else:
                self.emit(f"  case {field.number}: {prop} = .{field.swift}({self.scalar(message, field, source)})")
        self.emit("  default: break")
        self.emit("  }")

    def attach(self, message, sliced):
        self.emit()
        self.emit("mutating func attach(_ slice: SharedBytes, field: UInt32, limits: WireLimits) throws(Fault) {")
        self.emit("  switch field {")
        for field in sliced:
            element = self.element(message, field)
            if field.type == MESSAGE:
                self.emit(f"  case {field.number}: {field.swift}.append(try {element}(slicing: slice, limits: limits))")
            elif element == "Payload":
                self.emit(f"  case {field.number}: {field.swift} = Payload(slice)")
            else:
                self.emit(f"  case {field.number}: {field.swift} = slice")
        self.emit("  default: break")
        self.emit("  }")
        self.emit("}")

    def services(self, file):
        for service, doc, methods in file.services:
            self.document(doc)
            self.emit(f"package enum {service}Method {{")
            self.emit(f'  package static let service = "{file.package}.{service}"')
            for method in methods:
                self.emit(f"  package static let {swift_name(method)} = \"/{file.package}.{service}/{method}\"")
            self.emit("}")
            self.emit()

    def file(self, file):
        self.lines = ["// Generated by Deploy/generate-proto.sh from Proto/" + file.name + ". Do not edit.",
                      "", "internal import CProtobufC", "internal import CSkeinProto",
                      "package import SkeinCore", ""]
        if file.package == "google.protobuf":  # its documentation is Google's: not repeated here
            self.lines[0] = f"// Generated by Deploy/generate-proto.sh from {file.name}. Do not edit."
        if not file.messages:
            self.lines.remove("internal import CProtobufC")
            self.lines.remove("internal import CSkeinProto")
            self.lines.remove("package import SkeinCore")
        for enum in file.enums:
            self.enum(enum)
            self.emit()
        for message in file.messages:
            self.message(message)
            self.emit()
        self.services(file)
        for message in file.messages:
            self.unpack(message)
        return "\n".join(self.lines).rstrip("\n") + "\n"


def catalogue(generator, files):
    lines = ["// Generated by Deploy/generate-proto.sh. Do not edit.", "",
             "/// Every message, for the tests that hold all of them to a rule.",
             "enum AllMessages {", "  static let types: [any CMessage.Type] = ["]
    lines += [f"    {generator.type(m.full)}.self," for m in all_messages(files) if not m.is_map_entry]
    return "\n".join(lines + ["  ]", "}", ""])


# -- The C umbrella -------------------------------------------------------------------------------

def all_messages(files):
    out = []

    def visit(message):
        out.append(message)
        for nested in message.nested:
            visit(nested)
    for file in files:
        for message in file.messages:
            visit(message)
    return out


def umbrella(files):
    lines = ["// Generated by Deploy/generate-proto.sh. Do not edit.",
             "// All messages, and their descriptors by function: Swift cannot take a C global's address.",
             "#pragma once", ""]
    lines += [f'#include "{f.name[:-len(".proto")]}.pb-c.h"' for f in files]
    lines.append("")
    messages = all_messages(files)
    for message in messages:
        lower = c_lower(message.full)
        lines.append(f"static inline const ProtobufCMessageDescriptor *skein_descriptor__{lower}(void) {{")
        lines.append(f"  return &{lower}__descriptor;")
        lines.append("}")
    lines += ["", "// Every message, for the tests that hold all of them to a rule.",
              f"enum {{ skein_descriptor_count = {len(messages)} }};",
              "static inline const ProtobufCMessageDescriptor *skein_descriptor_at(int index) {",
              "  const ProtobufCMessageDescriptor *const all[] = {"]
    lines += [f"    &{c_lower(m.full)}__descriptor," for m in messages]
    lines += ["  };", "  return index >= 0 && index < skein_descriptor_count ? all[index] : 0;", "}", ""]
    return "\n".join(lines)


def plugin_umbrella(files):
    """What plug-ins take along: the messages of skein/plugin alone. CSkeinProto includes the same headers."""
    lines = ["// Generated by Deploy/generate-proto.sh. Do not edit.",
             "// The messages of offset stores and authenticators.", "#pragma once", ""]
    return "\n".join(lines + [f'#include "{f.name[:-len(".proto")]}.pb-c.h"' for f in files
                              if f.name.startswith("skein/plugin/")]) + "\n"


def main():
    descriptors, include, swift, *wanted = sys.argv[1:]
    files = [File(d) for d in group(Path(descriptors).read_bytes())[1]]
    files = sorted((f for f in files if f.name in wanted), key=lambda f: f.name)
    Path(include, "CSkeinProto.h").write_text(umbrella(files))
    Path(include, "module.modulemap").write_text(
        "module CSkeinProto {\n  umbrella header \"CSkeinProto.h\"\n  export *\n}\n")
    plugin = Path(include, "../../CSkeinPluginProto/include")
    (plugin / "CSkeinPluginProto.h").write_text(plugin_umbrella(files))
    (plugin / "module.modulemap").write_text(
        "module CSkeinPluginProto {\n  umbrella header \"CSkeinPluginProto.h\"\n  export *\n}\n")
    generator = Generator(files)
    for file in files:
        name = file.name[:-len(".proto")].replace("/", "_") + ".swift"
        Path(swift, name).write_text(generator.file(file))
    Path(swift, "AllMessages.swift").write_text(catalogue(generator, files))


if __name__ == "__main__":
    main()
