import Foundation
import Glibc
import Synchronization

/// Nanoseconds of CLOCK_MONOTONIC: the same for all processes of the machine.
func monotonicNanoseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Something that a member of a group did, and when.
struct MemberEvent {
  enum Kind {
    /// It asks to be a member.
    case joining
    case assigned([Int])
    /// It has finished with these, and gives them back after this line.
    case revoked([Int])
    /// They were taken from it.
    case lost([Int])
    /// The work on a record is done. `produced` is when the record was handed to the producer.
    case processed(partition: Int, offset: Int64, sequence: Int64, produced: Int64)
    /// The broker acknowledged a commit: `offset` is the next to process.
    case committed(partition: Int, offset: Int64)
    /// A commit was refused.
    case refused(partition: Int, reason: String)
    /// The membership failed; it may join again.
    case failed(reason: String)
    /// It left in order.
    case ended
  }

  let at: Int64
  let kind: Kind

  /// One line: a letter, nanoseconds, then what belongs to it.
  var line: String {
    switch kind {
    case .joining: "J \(at)"
    case .assigned(let partitions): "A \(at)\(Self.list(partitions))"
    case .revoked(let partitions): "R \(at)\(Self.list(partitions))"
    case .lost(let partitions): "L \(at)\(Self.list(partitions))"
    case .processed(let partition, let offset, let sequence, let produced):
      "P \(at) \(partition) \(offset) \(sequence) \(produced)"
    case .committed(let partition, let offset): "C \(at) \(partition) \(offset)"
    case .refused(let partition, let reason): "F \(at) \(partition) \(reason)"
    case .failed(let reason): "X \(at) \(reason)"
    case .ended: "E \(at)"
    }
  }

  private static func list(_ numbers: [Int]) -> String { numbers.map { " \($0)" }.joined() }

  init(_ kind: Kind, at: Int64 = monotonicNanoseconds()) {
    self.kind = kind
    self.at = at
  }

  /// nil for what is no such line.
  init?(_ line: Substring) {
    let words = line.split(separator: " ")
    guard words.count >= 2, let at = Int64(words[1]) else { return nil }
    let numbers = words.dropFirst(2).compactMap { Int64($0) }
    let partitions = numbers.map { Int($0) }
    switch (words[0], numbers.count) {
    case ("J", 0): kind = .joining
    case ("A", _): kind = .assigned(partitions)
    case ("R", _): kind = .revoked(partitions)
    case ("L", _): kind = .lost(partitions)
    case ("P", 4):
      kind = .processed(
        partition: partitions[0], offset: numbers[1], sequence: numbers[2], produced: numbers[3])
    case ("C", 2): kind = .committed(partition: partitions[0], offset: numbers[1])
    case ("F", 1) where words.count == 4: kind = .refused(partition: partitions[0], reason: String(words[3]))
    case ("X", _) where words.count == 3: kind = .failed(reason: String(words[2]))
    case ("E", 0): kind = .ended
    default: return nil
    }
    self.at = at
  }
}

/// A member's own account, in a file. What was written stays when the process is killed. Any thread.
final class MemberLog: Sendable {
  private let descriptor: Int32
  private let order = Mutex(())

  init(_ path: String) throws {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw TrialFailure("cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }

  deinit { close(descriptor) }

  func write(_ kind: MemberEvent.Kind) { write([MemberEvent(kind)]) }

  /// One call of the system, so that no line is cut.
  func write(_ events: [MemberEvent]) {
    var text = ""
    for event in events { text += event.line + "\n" }
    let bytes = Array(text.utf8)
    order.withLock { _ in
      var done = 0
      while done < bytes.count {
        let count = bytes.withUnsafeBytes {
          Glibc.write(descriptor, $0.baseAddress! + done, bytes.count - done)
        }
        guard count > 0 || errno == EINTR else { return }
        done += max(0, count)
      }
    }
  }
}

/// Reads what has been added to a member's log since the last time.
struct MemberLogReader {
  private let path: String
  private var offset: UInt64 = 0
  private var rest = ""

  init(_ path: String) { self.path = path }

  mutating func next() throws -> [MemberEvent] {
    guard let handle = FileHandle(forReadingAtPath: path) else { return [] }
    defer { try? handle.close() }
    try handle.seek(toOffset: offset)
    let data = try handle.readToEnd() ?? Data()
    offset += UInt64(data.count)
    let text = rest + String(decoding: data, as: UTF8.self)
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    rest = String(lines.removeLast())
    return try lines.map { line in
      guard let event = MemberEvent(line) else { throw TrialFailure("\(path) has the line: \(line)") }
      return event
    }
  }
}
