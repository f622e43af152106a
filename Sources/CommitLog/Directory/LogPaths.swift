internal import SkeinCore

/// The names in a log directory (Docs/formats/segment.md). Paths are relative to the disk's root.
enum LogPaths {
  static let lock = "lock"
  static let identity = "identity"
  static let cleanMarker = "clean"
  static let journal = "journal"
  static let topics = "topics"
  static let setAside = "aside"
  static let recycled = "recycled"
  static let emergency = "emergency"
  static let checkpointPrefix = "checkpoint-"

  static func topic(_ id: TopicID) -> String { "\(topics)/\(id)" }
  static func partition(_ key: TopicPartition) -> String { "\(topics)/\(key.topic)/\(key.partition)" }

  static func segment(_ key: TopicPartition, base: Int64) -> String {
    "\(partition(key))/\(name(ofBase: base)).log"
  }
  static func index(_ key: TopicPartition, base: Int64) -> String {
    "\(partition(key))/\(name(ofBase: base)).index"
  }

  /// Base offset as 20 digits, so that byte order is offset order.
  static func name(ofBase base: Int64) -> String { padded(UInt64(clamping: base)) }

  static func checkpoint(_ generation: UInt64) -> String { checkpointPrefix + padded(generation) }

  static func checkpointGeneration(_ name: String) -> UInt64? {
    guard name.hasPrefix(checkpointPrefix) else { return nil }
    return number(name.dropFirst(checkpointPrefix.count))
  }

  /// The base offset of `<20 digits>.log` or `.index`; nil for any other name.
  static func base(ofName name: String, suffix: String) -> Int64? {
    guard name.hasSuffix(suffix) else { return nil }
    return number(name.dropLast(suffix.count)).flatMap { Int64(exactly: $0) }
  }

  private static func padded(_ value: UInt64) -> String {
    let digits = String(value)
    return String(repeating: "0", count: 20 - digits.count) + digits
  }

  private static func number(_ digits: Substring) -> UInt64? {
    digits.utf8.count == 20 && digits.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt64(digits) : nil
  }
}
