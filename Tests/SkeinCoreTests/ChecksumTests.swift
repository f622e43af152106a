import SkeinCore
import Testing

@Suite struct ChecksumTests {
  /// RFC 3720 appendix B.4 and the usual check value.
  @Test func knownVectors() {
    #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xff, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum((0..<32).map { UInt8($0) }) == 0x46DD_794E)
  }

  /// Every length around the three-lane boundary, at every alignment, split at any point.
  @Test func hardwareEqualsPortable() {
    let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
    for length in Array(0..<64) + Array(3060..<3090) + [6143, 6144, 6145, 19_000] {
      for start in 0..<8 {
        bytes.withUnsafeBytes { all in
          let part = UnsafeRawBufferPointer(rebasing: all[start..<start + length])
          let whole = CRC32C.checksum(part)
          #expect(whole == CRC32C.portable(part))
          let cut = length / 3
          let first = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: part[..<cut]))
          let joined = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: part[cut...]), seed: first)
          #expect(joined == whole)
        }
      }
    }
  }
}
