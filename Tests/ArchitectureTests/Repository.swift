import Foundation

/// The checked-out repository that these tests stand in. Symbolic links are resolved, so that a
/// partial package that links to the real folders checks the real ones.
enum Repository {
  static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Every Swift file below `folder`, in order of path.
  static func swiftFiles(in folder: String) throws -> [SwiftSource] {
    try files(in: folder, extensions: ["swift"]).map { path in
      SwiftSource(path: path, text: try text(path))
    }
  }

  static func files(in folder: String, extensions: Set<String>) throws -> [String] {
    let base = root.appendingPathComponent(folder)
    guard
      let walk = FileManager.default.enumerator(
        at: base, includingPropertiesForKeys: nil, options: [.skipsHiddenFiles])
    else { return [] }
    var found: [String] = []
    for case let url as URL in walk where extensions.contains(url.pathExtension) {
      found.append(String(url.path.dropFirst(root.path.count + 1)))
    }
    return found.sorted()
  }

  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  /// The package description as SwiftPM reads it. Its own scratch path, because `swift test` holds
  /// the lock of the usual one while this runs.
  static func packageDescription() throws -> PackageDescription {
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("skein-architecture")
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "swift", "package", "--package-path", root.path, "--scratch-path", scratch.path, "dump-package",
    ]
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let bytes = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw DumpFailed(status: process.terminationStatus) }
    return try PackageDescription(json: bytes)
  }

  struct DumpFailed: Error { let status: Int32 }
}

/// The part of `swift package dump-package` that the rules look at.
struct PackageDescription {
  struct Target {
    let name: String
    let type: String
    let dependencies: Set<String>
  }

  let targets: [Target]

  init(targets: [Target]) { self.targets = targets }

  init(json: Data) throws {
    struct Dump: Decodable { let targets: [DumpedTarget] }
    struct DumpedTarget: Decodable {
      let name: String
      let type: String
      let dependencies: [[String: [Name?]]]
    }
    /// A dependency is an array of the name and things of other types (package, condition).
    struct Name: Decodable {
      let text: String?
      init(from decoder: any Decoder) throws {
        text = try? decoder.singleValueContainer().decode(String.self)
      }
    }
    targets = try JSONDecoder().decode(Dump.self, from: json).targets.map { target in
      let names = target.dependencies.flatMap { $0.values.compactMap { $0.first??.text } }
      return Target(name: target.name, type: target.type, dependencies: Set(names))
    }
  }
}
