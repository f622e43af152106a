internal import SkeinCore

/// Small files that are replaced whole (R50): write aside, sync, rename, sync the folder.
enum SmallFile {
  /// More than any checkpoint that this broker can serve; a file beyond it is damage.
  static let sizeLimit: Int64 = 1 << 30

  /// After it returned the file has `bytes`, whatever happens; before, the old content or none.
  static func replace(
    _ path: String, with bytes: [UInt8], folder: String, disk: any Disk
  ) throws(DiskError) {
    let aside = path + ".tmp"
    if try disk.exists(aside) { try disk.remove(aside) }
    let file = try disk.open(aside, .createNew)
    try file.write(bytes, at: 0)
    try file.sync()
    try disk.rename(aside, to: path)
    try disk.syncDirectory(folder)
  }

  /// The content; nil if there is no such file or it is absurdly large.
  static func read(_ path: String, disk: any Disk) throws(DiskError) -> [UInt8]? {
    guard try disk.exists(path) else { return nil }
    let file = try disk.open(path, .readOnly)
    let size = try file.size()
    guard size <= sizeLimit else { return nil }
    let bytes = try file.read(Int(size), at: 0)
    return bytes.count == Int(size) ? bytes.array : nil
  }
}
