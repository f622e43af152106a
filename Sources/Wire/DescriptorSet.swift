internal import CSkeinProto
internal import SkeinCore

/// One public file of `Proto/`, as the reflection service gives it out.
package struct DescriptorFile: Sendable {
  /// E.g. "skein/v1/topics.proto".
  package var name = ""
  /// Files that it imports.
  package var imports: [String] = []
  /// Full names of its services.
  package var services: [String] = []
  /// Full names of messages, fields, oneofs, enums, enum values, services and methods.
  package var symbols: [String] = []
  /// Full names of messages alone.
  package var messages: [String] = []
  /// The serialized `google.protobuf.FileDescriptorProto`.
  package var bytes: [UInt8] = []
}

/// The embedded contract: every public file of `Proto/` and what it imports, each after its imports.
package enum DescriptorSet {
  package static let files: [DescriptorFile] = {
    guard let base = skein_descriptor_set_bytes() else { return [] }
    let set = UnsafeRawBufferPointer(start: base, count: skein_descriptor_set_size())
    var files: [DescriptorFile] = []
    DescriptorParser.fields(of: set) { number, content in
      if number == 1 { files.append(DescriptorParser.file(content)) }
    }
    return files
  }()
}

/// Reads the names out of descriptors (google/protobuf/descriptor.proto); the numbers are that file's.
private enum DescriptorParser {
  /// Calls `body` with every length-delimited field.
  static func fields(of bytes: UnsafeRawBufferPointer, _ body: (UInt32, UnsafeRawBufferPointer) -> Void) {
    var reader = FieldReader(bytes)
    while let field = reader.next() {
      if field.wireType == 2 { body(field.number, UnsafeRawBufferPointer(rebasing: bytes[field.range])) }
    }
  }

  static func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

  /// The field 1 that every descriptor has.
  static func name(of bytes: UnsafeRawBufferPointer) -> String {
    var name = ""
    fields(of: bytes) { number, content in if number == 1 { name = text(content) } }
    return name
  }

  static func file(_ bytes: UnsafeRawBufferPointer) -> DescriptorFile {
    var file = DescriptorFile()
    file.bytes = Array(bytes)
    var package = ""
    fields(of: bytes) { number, content in
      switch number {
      case 1: file.name = text(content)
      case 2: package = text(content)
      case 3: file.imports.append(text(content))
      default: break
      }
    }
    let scope = package.isEmpty ? "" : package + "."
    fields(of: bytes) { number, content in
      switch number {
      case 4: message(content, scope, &file)
      case 5: enumeration(content, scope, &file)
      case 6: service(content, scope, &file)
      default: break
      }
    }
    return file
  }

  private static func message(_ bytes: UnsafeRawBufferPointer, _ scope: String, _ file: inout DescriptorFile)
  {
    let full = scope + name(of: bytes)
    file.symbols.append(full)
    file.messages.append(full)
    fields(of: bytes) { number, content in
      switch number {
      case 2, 8: file.symbols.append(full + "." + name(of: content))
      case 3: message(content, full + ".", &file)
      case 4: enumeration(content, full + ".", &file)
      default: break
      }
    }
  }

  /// Values live beside their enum, not in it.
  private static func enumeration(
    _ bytes: UnsafeRawBufferPointer, _ scope: String, _ file: inout DescriptorFile
  ) {
    file.symbols.append(scope + name(of: bytes))
    fields(of: bytes) { number, content in
      if number == 2 { file.symbols.append(scope + name(of: content)) }
    }
  }

  private static func service(_ bytes: UnsafeRawBufferPointer, _ scope: String, _ file: inout DescriptorFile)
  {
    let full = scope + name(of: bytes)
    file.symbols.append(full)
    file.services.append(full)
    fields(of: bytes) { number, content in
      if number == 2 { file.symbols.append(full + "." + name(of: content)) }
    }
  }
}
