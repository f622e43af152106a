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

  static func segment(_ key: TopicPartition, base: Int64, generation: UInt32 = 0) -> String {
    "\(partition(key))/\(name(ofBase: base))\(infix(generation)).log"
  }
  static func segment(_ key: TopicPartition, _ segment: Segment) -> String {
    self.segment(key, base: segment.base, generation: segment.generation)
  }
  static func index(_ key: TopicPartition, _ segment: Segment) -> String {
    "\(partition(key))/\(name(ofBase: segment.base))\(infix(segment.generation)).index"
  }

  /// What a file is called while it is not whole yet.
  static let unfinished = ".tmp"

  /// Ten digits, so that byte order is the order of generations too; nothing for a segment that the
  /// cleaner has not made.
  private static func infix(_ generation: UInt32) -> String {
    if generation == 0 { return "" }
    let digits = String(generation)
    return "." + String(repeating: "0", count: 10 - digits.count) + digits
  }

  /// Which segment a name belongs to: `<20 digits>[.<10 digits>]<suffix>`; nil for any other name.
  static func segment(ofName name: String, suffix: String) -> (base: Int64, generation: UInt32)? {
    guard name.hasSuffix(suffix) else { return nil }
    let parts = name.dropLast(suffix.count).split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, let base = number(parts[0]).flatMap({ Int64(exactly: $0) }) else { return nil }
    guard parts.count == 2 else { return (base, 0) }
    guard parts[1].utf8.count == 10, parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let generation = UInt32(parts[1]), generation > 0
    else { return nil }
    return (base, generation)
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
