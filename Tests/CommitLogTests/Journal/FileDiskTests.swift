import CommitLog
import DiskIO
import Glibc
import Simulation
import SkeinCore
import Testing

/// Real files below a folder of their own.
@Suite("File disk")
struct FileDiskTests {
  /// Calls `body` with a disk over a new folder, which is emptied and removed afterwards.
  private func withDisk(_ body: (FileDisk, String) throws -> Void) throws {
    var template = Array("/tmp/skein-disk-XXXXXX".utf8CString)
    let root = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    let disk = try FileDisk(root: root)
    defer {
      empty(disk, "")
      rmdir(root)
    }
    try body(disk, root)
  }

  private func empty(_ disk: FileDisk, _ path: String) {
    for entry in (try? disk.list(path)) ?? [] {
      let child = path.isEmpty ? entry.name : path + "/" + entry.name
      if entry.isDirectory {
        empty(disk, child)
        try? disk.removeDirectory(child)
      } else {
        try? disk.remove(child)
      }
    }
  }

  private func kind(_ body: () throws -> Void) -> DiskError.Kind? {
    do { try body() } catch { return (error as? DiskError)?.kind }
    return nil
  }

  /// More parts than one system call takes, of odd sizes and empty ones among them.
  @Test func writesManyPartsWhole() throws {
    try withDisk { disk, _ in
      let file = try disk.open("a", .createNew)
      let random = SeededRandom(seed: 1)
      let bytes = (0..<60_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      try bytes.withUnsafeBytes { all in
        var parts: [UnsafeRawBufferPointer] = []
        var at = 0
        while at < all.count {
          let count = min(random.below(30), all.count - at)
          parts.append(UnsafeRawBufferPointer(rebasing: all[at..<at + count]))
          at += count
        }
        #expect(parts.count > 2048)
        try file.write(parts, at: 5)
      }
      try file.sync()
      var back = [UInt8](repeating: 1, count: 70_000)
      let count = try back.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
      #expect(count == 60_005)
      #expect(Array(back[5..<60_005]) == bytes)
      #expect(back[..<5] == [0, 0, 0, 0, 0])
    }
  }

  @Test func namesAndErrors() throws {
    try withDisk { disk, _ in
      try disk.createDirectory("d")
      try disk.createDirectory("d")
      _ = try disk.open("d/b", .create)
      _ = try disk.open("d/a", .createNew)
      #expect(try disk.list("d").map(\.name) == ["a", "b"])
      #expect(try disk.list("") == [DirectoryEntry(name: "d", isDirectory: true)])
      #expect(kind { _ = try disk.open("d/a", .createNew) } == .exists)
      #expect(kind { _ = try disk.open("d/none", .readOnly) } == .notFound)
      #expect(kind { try disk.removeDirectory("d") } == .exists)
      #expect(kind { _ = try disk.open("../etc/passwd", .readOnly) } == .permission)
      #expect(kind { _ = try disk.open("/etc/passwd", .readOnly) } == .permission)
      #expect(kind { _ = try disk.open("d/../d/a", .readOnly) } == .permission)
      try disk.rename("d/a", to: "d/c")
      try disk.syncDirectory("d")
      try disk.syncDirectory("")
      #expect(try disk.exists("d/c"))
      #expect(try !disk.exists("d/a"))
    }
  }

  @Test func linksAreNotFollowed() throws {
    try withDisk { disk, root in
      symlink("/etc/passwd", root + "/link")
      #expect(kind { _ = try disk.open("link", .readOnly) } == .permission)
    }
  }

  @Test func descriptorsAreClosedOnExec() throws {
    try withDisk { disk, root in
      let file = try disk.open("a", .create)
      let lock = try disk.lock("lock")
      var seen = 0
      for number in 0..<Int32(256) {
        var target = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/fd/\(number)", &target, 4095)
        let path = String(
          decoding: target.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard path.hasPrefix(root) else { continue }
        seen += 1
        #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0, "\(path)")
      }
      #expect(seen >= 3)
      withExtendedLifetime((file, lock)) {}
    }
  }

  @Test func truncateAllocateAndSpace() throws {
    try withDisk { disk, _ in
      let file = try disk.open("a", .create)
      try file.allocate(from: 0, count: 1 << 16)
      #expect(try file.size() == 0)
      try file.truncate(to: 1000)
      #expect(try file.size() == 1000)
      let space = try disk.space()
      #expect(space.free > 0 && space.total >= space.free)
    }
  }

  @Test func lockExcludesOthersUntilReleased() throws {
    try withDisk { disk, root in
      var lock: (any DiskLock)? = try disk.lock("lock")
      let other = try FileDisk(root: root)
      #expect(kind { _ = try other.lock("lock") } == .locked)
      withExtendedLifetime(lock) {}
      lock = nil
      #expect(kind { _ = try other.lock("lock") } == nil)
    }
  }

  /// The journal on real files, over a restart.
  @Test func journalOnFiles() throws {
    try withDisk { disk, _ in
      let configuration = JournalConfiguration(
        fileSize: 1 << 20, fileCount: 2, verifyBatch: TestPayload.verify)
      let random = SeededRandom(seed: 3)
      let key = TopicPartition(topic: random.topicID(), partition: 1)
      let payloads = (0..<200).map {
        TestPayload.bytes(id: UInt64($0), key: key, body: random.below(2000), random: random)
      }
      do {
        let (journal, recovery) = try Journal.open(
          disk: disk, directory: "journal", configuration: configuration, random: random)
        #expect(recovery.created)
        for start in stride(from: 0, to: 200, by: 20) {
          _ = try journal.write(
            (start..<start + 20).map {
              JournalEntry(kind: .batch, key: key, parts: [SharedBytes(payloads[$0])], endOffset: Int64($0))
            })
          try journal.sync()
        }
      }
      let (_, recovery) = try Journal.open(
        disk: disk, directory: "journal", configuration: configuration, random: random)
      #expect(!recovery.created && !recovery.torn && recovery.corruptions.isEmpty)
      #expect(try JournalRig.replay(recovery).map(\.payload) == payloads)
    }
  }
}
