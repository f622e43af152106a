import CommitLog
import PluginPackage
import SkeinCore

/// The files of installed plug-ins, by their content: `store/sha256-<hex>/` with plugin.so, manifest.json and
/// manifest.sig. A folder appears whole (written beside, synced, renamed) and is never changed; what is not in the
/// catalogue is nobody's and goes at the next start. All calls block; who calls lets one change run at a time.
struct PluginStore: Sendable {
  /// The three files of an artifact. `signature` is empty for one that is not signed.
  struct Files: Sendable {
    var file: SharedBytes
    var manifest: [UInt8]
    var signature: [UInt8]
  }

  private static let store = "store"
  private static let staging = "staging"
  static let signatureName = "manifest.sig"

  let disk: any Disk

  private func folder(_ sha256: String) -> String { "\(Self.store)/sha256-\(sha256)" }

  /// Makes the folders, and removes what a crash left behind: drafts, and folders that nobody `keeps`.
  func open(keeping keeps: Set<String>) throws(Fault) {
    do throws(DiskError) {
      try disk.createDirectory(Self.store)
      try disk.createDirectory(Self.staging)
      try disk.syncDirectory("")
      try empty(Self.staging)
      for entry in try disk.list(Self.store) where !keeps.contains(String(entry.name.dropFirst(7))) {
        try discard("\(Self.store)/\(entry.name)", isDirectory: entry.isDirectory)
      }
      try disk.syncDirectory(Self.store)
    } catch {
      throw Self.fault(error)
    }
  }

  /// Puts an artifact in its place, durably; whatever was in that place is replaced.
  func write(_ files: Files, as sha256: String) throws(Fault) {
    do throws(DiskError) {
      let draft = "\(Self.staging)/\(sha256)"
      try empty(Self.staging)
      try disk.createDirectory(draft)
      try write(files.file, to: "\(draft)/\(ArtifactCheck.fileName)")
      try write(SharedBytes(files.manifest), to: "\(draft)/\(Manifest.fileName)")
      if !files.signature.isEmpty {
        try write(SharedBytes(files.signature), to: "\(draft)/\(Self.signatureName)")
      }
      try disk.syncDirectory(draft)
      try remove(sha256)
      try disk.rename(draft, to: folder(sha256))
      try disk.syncDirectory(Self.store)
      try disk.syncDirectory(Self.staging)
    } catch {
      throw Self.fault(error)
    }
  }

  /// Reads what lies there now, for the checks.
  /// - Throws: `PLUGIN_REFUSED` (check: hash) when a file is gone, a link, or longer than any may be.
  func read(_ sha256: String, plugin: PluginReference, isSigned: Bool) throws(Fault) -> Files {
    let name = "sha256-\(sha256)"
    let isFolder: Bool
    do throws(DiskError) {
      isFolder = try disk.list(Self.store).contains { $0.name == name && $0.isDirectory }
    } catch {
      throw Self.fault(error)
    }
    guard isFolder else {
      throw Self.altered(plugin, "\(Self.store)/\(name)", "is gone, or is a link and not a folder")
    }
    return Files(
      file: try read(sha256, ArtifactCheck.fileName, PackageFile.mostArtifactBytes, plugin),
      manifest: try read(sha256, Manifest.fileName, PackageFile.mostManifestBytes, plugin).array,
      signature: isSigned ? try read(sha256, Self.signatureName, Signature.length, plugin).array : [])
  }

  func remove(_ sha256: String) throws(DiskError) {
    let name = "sha256-\(sha256)"
    guard let entry = try disk.list(Self.store).first(where: { $0.name == name }) else { return }
    try discard(folder(sha256), isDirectory: entry.isDirectory)
    try disk.syncDirectory(Self.store)
  }

  /// - Throws: `DISK_FULL` when the files would not leave `reserve` bytes free.
  func checkSpace(for bytes: Int, reserve: Int64) throws(Fault) {
    do throws(DiskError) {
      let free = try disk.space().free
      guard free - Int64(bytes) >= reserve else {
        throw DiskError(.noSpace, operation: "install", path: Self.store)
      }
    } catch {
      throw Self.fault(error)
    }
  }

  // MARK: One file

  private func write(_ bytes: SharedBytes, to path: String) throws(DiskError) {
    let file = try disk.open(path, .createNew)
    try bytes.withUnsafeBytes { (raw) throws(DiskError) in try file.write([raw], at: 0) }
    try file.sync()
  }

  private func read(
    _ sha256: String, _ name: String, _ limit: Int, _ plugin: PluginReference
  ) throws(Fault) -> SharedBytes {
    let path = "\(folder(sha256))/\(name)"
    do throws(DiskError) {
      let file = try disk.open(path, .readOnly)
      let size = try file.size()
      guard size > 0, size <= Int64(limit) else {
        throw DiskError(.io, operation: "size", path: path, code: 0)
      }
      let storage = SharedBytes.Storage(capacity: Int(size))
      let count = try file.read(
        into: UnsafeMutableRawBufferPointer(start: storage.base, count: Int(size)), at: 0)
      return SharedBytes(storage, offset: 0, count: min(count, Int(size)))
    } catch {
      switch error.kind {
      case .notFound: throw Self.altered(plugin, name, "is gone")
      // The disk follows no links: opening one is an error (ELOOP), and so is a size that no such file has.
      default: throw Self.altered(plugin, name, "is not the regular file that was installed (\(error))")
      }
    }
  }

  private func empty(_ folder: String) throws(DiskError) {
    for entry in try disk.list(folder) {
      try discard("\(folder)/\(entry.name)", isDirectory: entry.isDirectory)
    }
  }

  private func discard(_ path: String, isDirectory: Bool) throws(DiskError) {
    guard isDirectory else { return try disk.remove(path) }
    for entry in try disk.list(path) { try discard("\(path)/\(entry.name)", isDirectory: entry.isDirectory) }
    try disk.removeDirectory(path)
  }

  // MARK: Faults

  static func altered(_ plugin: PluginReference, _ file: String, _ what: String) -> Fault {
    Refusal.fault(
      .hash, file: file, plugin: "\(plugin.id) \(plugin.version)",
      cause: "\(file) in the broker's store \(what): it was changed after it was installed",
      cure: "Find out who writes to the broker's data directory, then install the same package again")
  }

  static func fault(_ error: DiskError) -> Fault {
    guard error.kind == .noSpace else {
      return Fault(
        .internalError,
        "the store of plug-ins cannot be used: \(error); check the disk and the data directory")
    }
    return Fault(
      .diskFull,
      "the disk has no room for the plug-in and the broker's reserve; nothing was installed; free some space, or remove versions that nothing uses"
    )
  }
}
