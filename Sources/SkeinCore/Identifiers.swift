/// The place of a record in its partition: dense when appended, never reused, at least 0.
public struct Offset: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: Int64
  @inlinable public init(rawValue: Int64) { self.rawValue = rawValue }
  @inlinable public init(_ rawValue: Int64) { self.rawValue = rawValue }
  public static let zero = Offset(0)
  @inlinable public static func < (a: Offset, b: Offset) -> Bool { a.rawValue < b.rawValue }
  /// `count` records further on. Offsets stay below 2^62, so this cannot overflow for counts
  /// that were checked against a batch limit.
  @inlinable public func advanced(by count: Int64) -> Offset { Offset(rawValue + count) }
  @inlinable public func distance(to other: Offset) -> Int64 { other.rawValue - rawValue }
  public var description: String { String(rawValue) }
  /// Offsets at or above this are refused everywhere, so that arithmetic on them cannot overflow.
  public static let limit = Offset(1 << 62)
}

/// Counts the leaderships of a partition; a single broker raises it at every start (R22, R23).
public struct LeaderEpoch: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }
  @inlinable public init(_ rawValue: Int32) { self.rawValue = rawValue }
  @inlinable public static func < (a: LeaderEpoch, b: LeaderEpoch) -> Bool { a.rawValue < b.rawValue }
  public var description: String { String(rawValue) }
}

/// 128 random bits that name a topic for ever: a deleted and re-created name is another topic.
public struct TopicID: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let high: UInt64
  public let low: UInt64
  @inlinable public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  public static func < (a: TopicID, b: TopicID) -> Bool { (a.high, a.low) < (b.high, b.low) }

  /// 32 lowercase hexadecimal digits; also the name of the topic's folder in a log directory.
  public var description: String { Hex.string(high) + Hex.string(low) }

  /// Parses exactly 32 lowercase hexadecimal digits.
  public init?(_ text: some StringProtocol) {
    let digits = Array(text.utf8)
    guard digits.count == 32,
      let high = Hex.parse(digits[0..<16]), let low = Hex.parse(digits[16..<32])
    else { return nil }
    self.init(high: high, low: low)
  }
}

/// One partition of one topic.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let topic: TopicID
  public let partition: Int32
  @inlinable public init(topic: TopicID, partition: Int32) {
    self.topic = topic
    self.partition = partition
  }

  public static func < (a: TopicPartition, b: TopicPartition) -> Bool {
    a.topic != b.topic ? a.topic < b.topic : a.partition < b.partition
  }
  public var description: String { "\(topic)/\(partition)" }
}

/// Hexadecimal text of 64-bit words, without Foundation.
public enum Hex {
  public static func string(_ value: UInt64) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }

  /// Exactly lowercase digits; nil for anything else or more than 16 digits.
  public static func parse(_ digits: some Collection<UInt8>) -> UInt64? {
    guard (1...16).contains(digits.count) else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      switch digit {
      case 0x30...0x39: value = value << 4 | UInt64(digit - 0x30)
      case 0x61...0x66: value = value << 4 | UInt64(digit - 0x61 + 10)
      default: return nil
      }
    }
    return value
  }

  public static func string(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var out: [UInt8] = []
    for byte in bytes { out += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
    return String(decoding: out, as: UTF8.self)
  }
}
