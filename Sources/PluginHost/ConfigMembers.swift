import CommitLog
import DiskIO
import Foundation
import PluginABI
import SkeinCore

/// Turns a configuration into what `skein.host.config/1` answers: a value for each path, secrets read from their files.
enum ConfigMembers {
  /// Bytes of one secret.
  static let secretLimit = 64 << 10
  private static let depthLimit = 16

  /// - Parameters:
  ///   - json: one object; empty: {}.
  ///   - paths: below which `secret_file` may point (the manifest's).
  ///   - read: gives a file's bytes, at most so many.
  /// - Throws: `PLUGIN_CONFIG_INVALID` naming the field.
  static func flatten(
    _ json: String, paths: [String], read: (String, Int) throws(Fault) -> [UInt8]
  ) throws(Fault) -> [ConfigTable.Member] {
    guard json.utf8.count <= ConfigTable.byteLimit else {
      throw invalid("config", "it has \(json.utf8.count) bytes, \(ConfigTable.byteLimit) are allowed")
    }
    let text = json.isEmpty ? "{}" : json
    guard let parsed = try? JSONSerialization.jsonObject(with: Data(text.utf8)),
      let object = parsed as? [String: Any]
    else { throw invalid("config", "it is not one JSON object") }
    var members: [ConfigTable.Member] = []
    try walk(object, "", 0, paths, read, &members)
    var bytes = 0
    for member in members { bytes += member.value.count }
    guard members.count <= ConfigTable.memberLimit, bytes <= ConfigTable.byteLimit else {
      throw invalid(
        "config",
        "it has \(members.count) members with \(bytes) bytes; \(ConfigTable.memberLimit) with \(ConfigTable.byteLimit) are allowed"
      )
    }
    return members
  }

  private static func walk(
    _ object: [String: Any], _ prefix: String, _ depth: Int, _ paths: [String],
    _ read: (String, Int) throws(Fault) -> [UInt8], _ members: inout [ConfigTable.Member]
  ) throws(Fault) {
    guard depth < depthLimit else { throw invalid(prefix, "it is nested more than \(depthLimit) deep") }
    for (key, value) in object.sorted(by: { $0.key < $1.key }) {
      let path = prefix + key
      if let inner = value as? [String: Any] {
        if inner.count == 1, let file = inner["secret_file"] as? String {
          try check(file, path, paths)
          members.append(.init(path: path, value: try read(file, secretLimit)))
          continue
        }
        try walk(inner, path + ".", depth + 1, paths, read, &members)
      }
      members.append(.init(path: path, value: try encoded(value, path)))
    }
  }

  /// A string as its bytes, anything else as JSON text.
  private static func encoded(_ value: Any, _ path: String) throws(Fault) -> [UInt8] {
    if let text = value as? String { return Array(text.utf8) }
    guard
      let data = try? JSONSerialization.data(
        withJSONObject: value, options: [.fragmentsAllowed, .sortedKeys, .withoutEscapingSlashes])
    else { throw invalid(path, "it cannot be written as JSON") }
    return Array(data)
  }

  private static func check(_ file: String, _ field: String, _ paths: [String]) throws(Fault) {
    let components = file.split(separator: "/", omittingEmptySubsequences: false)
    guard file.hasPrefix("/"), !components.contains(".."), !components.contains("."), !file.utf8.contains(0)
    else { throw invalid(field, "secret_file must be an absolute path without `..`") }
    let isBelow = paths.contains { path in
      file == path || file.hasPrefix(path.hasSuffix("/") ? path : path + "/")
    }
    guard isBelow else {
      throw invalid(
        field,
        "secret_file \(file.displayable) lies outside the paths that the plug-in's manifest declares (\(paths.isEmpty ? "none" : paths.joined(separator: ", ")))"
      )
    }
  }

  /// A secret's bytes, from the disk. Blocks.
  static func readSecret(_ file: String, limit: Int) throws(Fault) -> [UInt8] {
    let found: [UInt8]?
    do {
      found = try bytes(of: file, limit: limit)
    } catch {
      throw invalid("secret_file", "\(file.displayable) cannot be read: \(error.kind)")
    }
    guard let found else {
      throw invalid("secret_file", "\(file.displayable) has more than the \(limit) bytes that are allowed")
    }
    return found
  }

  private static func bytes(of file: String, limit: Int) throws(DiskError) -> [UInt8]? {
    let opened = try FileDisk(root: "/").open(String(file.dropFirst()), .readOnly)
    let size = try opened.size()
    guard size <= Int64(limit) else { return nil }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(Int(size), 1), alignment: 1)
    defer { memory.deallocate() }
    return Array(memory.prefix(try opened.read(into: memory, at: 0)))
  }

  private static func invalid(_ field: String, _ why: String) -> Fault {
    Fault(
      .pluginConfigInvalid, "the configuration's \(field): \(why)",
      violations: [.init(field: field, description: why)])
  }
}
