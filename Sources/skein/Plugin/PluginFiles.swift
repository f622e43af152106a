import Foundation
import PluginPackage
import SkeinClient
import SkeinCore

/// Files of the command line, bounded, with errors that name them.
enum PluginFiles {
  static func bytes(_ path: String, limit: Int) throws -> [UInt8] {
    guard let handle = FileHandle(forReadingAtPath: path) else {
      let why = FileManager.default.fileExists(atPath: path) ? "it cannot be read" : "there is no such file"
      throw LocalFailure("\(path.displayable): \(why); check the path and its permissions")
    }
    defer { try? handle.close() }
    let data: Data
    do { data = try handle.read(upToCount: limit + 1) ?? Data() } catch {
      throw LocalFailure("\(path.displayable): it cannot be read; name a file, not a folder")
    }
    guard data.count <= limit else {
      throw LocalFailure("\(path.displayable): it has more than \(limit) bytes")
    }
    return [UInt8](data)
  }

  static func text(_ path: String) throws -> String {
    guard let text = String(validating: try bytes(path, limit: Signature.mostPEMBytes), as: UTF8.self) else {
      throw LocalFailure("\(path.displayable): it is not text; name a PEM file")
    }
    return text
  }

  static func package(_ path: String) throws -> (bytes: [UInt8], file: PackageFile) {
    let bytes = try bytes(path, limit: PackageFile.mostBytes)
    return (bytes, try told { () throws(Fault) in try PackageFile(parsing: SharedBytes(bytes)) })
  }

  /// Writes a file that must not be there yet.
  static func write(_ bytes: [UInt8], to path: String, mode: Int) throws {
    guard !FileManager.default.fileExists(atPath: path) else {
      throw LocalFailure("\(path.displayable) is there already; remove it, or choose another name")
    }
    guard
      FileManager.default.createFile(
        atPath: path, contents: Data(bytes), attributes: [.posixPermissions: mode])
    else { throw LocalFailure("\(path.displayable) cannot be written; check the folder") }
  }

  static func stem(_ path: String) -> String {
    String(URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent.prefix(63))
  }

  /// Faults of our own as the broker's are told.
  static func told<R>(_ body: () throws(Fault) -> R) throws -> R {
    do throws(Fault) { return try body() } catch { throw SkeinError(error) }
  }
}
