import CommitLog
import DiskIO
import Foundation

/// Runs `body` on real files in a folder that is removed afterwards.
func withTemporaryDisk(_ body: (any Disk) async throws -> Void) async throws {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-metadata-\(UUID())")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try await body(try FileDisk(root: folder.path))
}
