import RecordFormat
import SkeinCore

/// A reproducible source of randomness (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}

/// Makes length and CRC of a batch right again, so that damage behind them is met by the parser.
func reseal(_ batch: inout [UInt8]) {
  guard batch.count >= BatchHeader.size else { return }
  put(Int32(batch.count - 12), at: 8, in: &batch)
  let crc = batch[21...].withUnsafeBytes { CRC32C.checksum($0) }
  put(crc, at: 17, in: &batch)
}

func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int, in bytes: inout [UInt8]) {
  bytes.withUnsafeMutableBytes {
    $0.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }
}

/// The zigzag varint of the specification, written here once more so that tests do not lean on ours.
func varint(_ value: Int64) -> [UInt8] {
  var raw = UInt64(bitPattern: value &* 2) ^ (value < 0 ? .max : 0)
  var out: [UInt8] = []
  repeat {
    out.append(UInt8(raw % 128) + (raw >= 128 ? 128 : 0))
    raw /= 128
  } while raw > 0
  return out
}

/// A batch around `records`, which may be anything.
func batch(
  records: [UInt8], count: Int32 = 1, attributes: Int16 = 0, baseTimestamp: Int64 = 1000,
  maxTimestamp: Int64 = 1000
) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: BatchHeader.size) + records
  bytes[16] = 2
  put(attributes, at: 21, in: &bytes)
  put(count &- 1, at: 23, in: &bytes)
  put(baseTimestamp, at: 27, in: &bytes)
  put(maxTimestamp, at: 35, in: &bytes)
  put(Int64(-1), at: 43, in: &bytes)
  put(Int16(-1), at: 51, in: &bytes)
  put(Int32(-1), at: 53, in: &bytes)
  put(count, at: 57, in: &bytes)
  reseal(&bytes)
  return bytes
}

/// A record with its length in front; `body` starts at the attributes.
func record(_ body: [UInt8]) -> [UInt8] { varint(Int64(body.count)) + body }

func produce(_ bytes: [UInt8], _ limits: BatchLimits = BatchLimits()) throws(BatchError) {
  _ = try bytes.withUnsafeBufferPointer { (buffer) throws(BatchError) in
    try BatchCheck.produce(UnsafeRawBufferPointer(buffer), limits: limits)
  }
}

func stored(_ bytes: [UInt8]) throws(BatchError) {
  _ = try bytes.withUnsafeBufferPointer { (buffer) throws(BatchError) in
    try BatchCheck.stored(UnsafeRawBufferPointer(buffer))
  }
}

/// The number of records read; what was wrong otherwise.
@discardableResult
func read(_ bytes: [UInt8], _ limits: BatchLimits = BatchLimits()) throws -> Int {
  var reader = BatchReader(limits: limits)
  var count = 0
  _ = try bytes.withUnsafeBytes { try reader.forEach($0) { _ in count += 1 } }
  return count
}
