/// A record that can be told from every other: producer, partition, sequence number, a filling drawn
/// from them and the seed, and a hash over all of it (FNV-1a, 64 bits: not the broker's CRC).
struct Payload {
  static let headBytes = 28
  static let maximumFilling = 1_500

  let producer: Int
  let partition: Int
  let sequence: UInt64
  let hash: UInt64

  static func bytes(producer: Int, partition: Int, sequence: UInt64, seed: UInt64) -> [UInt8] {
    var random = SplitMix(
      state: seed ^ sequence &* 0x1_0001 ^ UInt64(producer) << 40 ^ UInt64(partition) << 32)
    let filling = random.below(maximumFilling)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(headBytes + filling + 8)
    append(UInt64(producer), to: &bytes)
    append(UInt64(partition), to: &bytes)
    append(sequence, to: &bytes)
    while bytes.count < headBytes - 8 + filling { append(random.next(), to: &bytes) }
    append(fnv(bytes[...]), to: &bytes)
    return bytes
  }

  /// nil when the bytes were altered.
  init?(_ bytes: [UInt8]) {
    guard bytes.count >= Self.headBytes else { return nil }
    let hash = Self.read(bytes, at: bytes.count - 8)
    guard hash == Self.fnv(bytes.dropLast(8)) else { return nil }
    producer = Int(truncatingIfNeeded: Self.read(bytes, at: 0))
    partition = Int(truncatingIfNeeded: Self.read(bytes, at: 8))
    sequence = Self.read(bytes, at: 16)
    self.hash = hash
  }

  private static func append(_ value: UInt64, to bytes: inout [UInt8]) {
    for shift in stride(from: 56, through: 0, by: -8) {
      bytes.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  private static func read(_ bytes: [UInt8], at start: Int) -> UInt64 {
    bytes[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) }
  }

  static func fnv(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.withUnsafeBufferPointer { buffer in
      var hash: UInt64 = 0xCBF2_9CE4_8422_2325
      for byte in buffer { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
      return hash
    }
  }
}
