import NIOCore
import Testing

@testable import Transport

/// The meter alone: the same judgement however the bytes are cut, and time that gives tokens back.
@Suite struct FrameMeterTests {
  private func limits() -> TransportLimits {
    var limits = TransportLimits()
    limits.junkFrameBurst = 5
    limits.junkFramesPerSecond = 2
    limits.maxHeaderListBytes = 100
    return limits
  }

  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  @Test func cutsDoNotMatter() {
    var random = SeededGenerator(seed: 0x5EED_0004)
    print("seed 0x5EED0004")
    let now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    let good =
      Self.preface + Frames.frame(4, 0, 0, [0, 4, 0, 1, 0, 0])
      + Frames.frame(1, 4, 1, [UInt8](repeating: 0, count: 90))
      + Frames.frame(0, 0, 1, [UInt8](repeating: 9, count: 3000)) + Frames.frame(0, 1, 1, [])
      + (0..<5).flatMap { _ in Frames.frame(2, 0, 1, [0, 0, 0, 0, 1]) }
    let bad = good + Frames.frame(0xaa, 0, 0, [1])
    for (bytes, isAbuse) in [(good, false), (bad, true)] {
      for _ in 0..<50 {
        var meter = FrameMeter(isServer: true, limits: limits(), now: now)
        var abuse: String?
        var rest = bytes[...]
        while !rest.isEmpty, abuse == nil {
          let part = Array(rest.prefix(Int.random(in: 1...40, using: &random)))
          rest = rest.dropFirst(part.count)
          abuse = part.withUnsafeBytes { meter.feed($0, now: now) }
        }
        #expect((abuse != nil) == isAbuse, "\(abuse ?? "none")")
      }
    }
  }

  @Test func longHeaderBlocksAndOldStreams() {
    let now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    func judge(_ frames: [UInt8]) -> String? {
      var meter = FrameMeter(isServer: true, limits: limits(), now: now)
      return (Self.preface + frames).withUnsafeBytes { meter.feed($0, now: now) }
    }
    let half = [UInt8](repeating: 0, count: 120)
    #expect(judge(Frames.frame(1, 0, 1, half)) == nil)
    #expect(
      judge(Frames.frame(1, 0, 1, half) + Frames.frame(9, 4, 1, half))?.contains("header block") == true)
    let old = (0..<6).flatMap { _ in Frames.frame(1, 4, 3, []) }
    #expect(judge(Frames.frame(1, 4, 5, []) + old)?.contains("opened before") == true)
    #expect(judge((0..<100).flatMap { Frames.frame(1, 4, UInt32(2 * $0 + 1), []) }) == nil)
  }

  @Test func tokensComeBackWithTime() {
    var bucket = TokenBucket(burst: 3, perSecond: 2, now: .uptimeNanoseconds(0))
    let taken = (0..<5).map { _ in bucket.take(.uptimeNanoseconds(500_000_000)) }
    #expect(taken == [true, true, true, false, false])
    let later = (0..<4).map { _ in bucket.take(.uptimeNanoseconds(1_600_000_000)) }
    #expect(later == [true, true, false, false])
    let muchLater = (0..<4).map { _ in bucket.take(.uptimeNanoseconds(9_000_000_000_000_000_000)) }
    #expect(muchLater == [true, true, true, false])
  }
}
