import Foundation

/// The built `skein`, run as a process: it stands beside the test bundle.
struct CommandLineTool {
  struct Result {
    let code: Int32
    let output: String
    let notes: String
  }

  /// A folder of its own for each tool: contexts, and files of the test.
  let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-cli-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  func file(_ name: String, _ text: String) throws -> String {
    let url = folder.appendingPathComponent(name)
    try Data(text.utf8).write(to: url)
    return url.path
  }

  static var path: URL {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("skein")
  }

  func run(_ arguments: String..., environment: [String: String] = [:]) throws -> Result {
    try run(list: arguments, environment: environment)
  }

  func run(list arguments: [String], environment: [String: String] = [:]) throws -> Result {
    let process = Process()
    process.executableURL = Self.path
    process.arguments = arguments
    process.environment = ["XDG_CONFIG_HOME": folder.path, "HOME": folder.path].merging(environment) { $1 }
    let (output, notes) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = notes
    process.standardInput = FileHandle.nullDevice
    try process.run()
    // Both are small: neither pipe can fill while the other is read.
    let out = output.fileHandleForReading.readDataToEndOfFile()
    let err = notes.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return Result(
      code: process.terminationStatus, output: String(decoding: out, as: UTF8.self),
      notes: String(decoding: err, as: UTF8.self))
  }
}
