import PluginPackage

/// Records that partitioners are tried with.
package struct RecordSamples: Sendable {
  /// How many headers the manifest names.
  var headerNames = 0
  var needsTimestamps = false

  package init(headerNames: Int = 0, needsTimestamps: Bool = false) {
    self.headerNames = headerNames
    self.needsTimestamps = needsTimestamps
  }

  init(_ manifest: Manifest) {
    self.init(headerNames: manifest.headers.count, needsTimestamps: manifest.needsTimestamps)
  }

  /// Keys as topics have them: names, numbers, identifiers, prefixed ones.
  func ordinary(_ count: Int, partitions: Int32, random: inout SeededRandom) -> RecordSet {
    var keys: [[UInt8]?] = []
    for index in 0..<count {
      switch index % 4 {
      case 0: keys.append(Array("user-\(random.next() % 1_000_000)".utf8))
      case 1: keys.append(Array("\(random.next() % 100_000_000)".utf8))
      case 2: keys.append(random.bytes(16))
      default: keys.append(Array("tenant-\(random.next() % 50):order-\(random.next() % 100_000)".utf8))
      }
    }
    return complete(partitions, keys, &random)
  }

  /// Keys that nobody expects.
  func strange(partitions: Int32, random: inout SeededRandom) -> RecordSet {
    let keys: [[UInt8]?] = [
      nil, [], [0], [0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], Array(repeating: 0, count: 4_096),
      Array(repeating: 0x80, count: 1 << 20), Array(":".utf8), Array("::::".utf8), Array("%s%n%x".utf8),
      Array("a".utf8), nil, Array("a\u{0}b".utf8), random.bytes(3), random.bytes(65_537),
    ]
    return complete(partitions, keys, &random)
  }

  /// Anything, from no byte to `longest`.
  func arbitrary(_ count: Int, partitions: Int32, longest: Int, random: inout SeededRandom) -> RecordSet {
    let keys: [[UInt8]?] = (0..<count).map { _ in
      switch random.next() % 8 {
      case 0: return nil
      case 1: return []
      case 2: return random.bytes(Int(random.next() % UInt64(longest)))
      default: return random.bytes(Int(random.next() % 40))
      }
    }
    var set = complete(partitions, keys, &random)
    if random.next() % 2 == 0 {
      set.weights = (0..<Int(partitions)).map { _ in
        random.next() % 4 == 0 ? 0 : UInt32(truncatingIfNeeded: random.next() >> (random.next() % 32))
      }
    }
    set.topic = random.bytes(16)
    return set
  }

  private func complete(_ partitions: Int32, _ keys: [[UInt8]?], _ random: inout SeededRandom) -> RecordSet {
    var set = RecordSet(partitions: partitions, keys: keys)
    if headerNames > 0 {
      set.headers = keys.map { _ in
        (0..<headerNames).map { _ in
          switch random.next() % 5 {
          case 0: nil
          case 1: []
          case 2: random.bytes(Int(random.next() % 300))
          default: Array("value-\(random.next() % 100)".utf8)
          }
        }
      }
    }
    if needsTimestamps {
      set.timestamps = keys.map { _ in
        switch random.next() % 8 {
        case 0: 0
        case 1: Int64.max
        case 2: Int64.min
        default: 1_700_000_000_000 + Int64(random.next() % 100_000_000)
        }
      }
    }
    return set
  }
}
