import Simulation
import Testing

@testable import CommitLog

/// The cleaner's map: exact, and never larger than it may be.
@Suite struct KeyMapTests {
  @Test func itIsExactAndKeepsTheHighestOffset() {
    var map = KeyMap(memory: 1 << 20)
    var model: [[UInt8]: Int64] = [:]
    let random = SeededRandom(seed: 3)
    for offset in Int64(0)..<20_000 {
      let key = Array("\(random.below(5000))".utf8) + [UInt8](repeating: 0, count: random.below(12))
      let at = random.chance(10) ? offset / 2 : offset
      #expect(key.withUnsafeBytes { map.note($0, offset: at) })
      model[key] = max(model[key] ?? 0, at)
    }
    #expect(map.count == model.count && model.count > 5000)
    for (key, offset) in model { #expect(key.withUnsafeBytes { map.newest($0) } == offset) }
    #expect([UInt8]("none".utf8).withUnsafeBytes { map.newest($0) } == nil)
  }

  @Test(arguments: [1024, 5000, 1 << 16, 1 << 20])
  func aFullMapRefusesNewKeysAndKeepsTheOld(memory: Int) {
    var map = KeyMap(memory: memory)
    var count = 0
    while Array("key-\(count)".utf8).withUnsafeBytes({ map.note($0, offset: Int64(count)) }) { count += 1 }
    // 24 bytes for an entry; between a 16th and an 8th of the memory is the table.
    #expect(count >= memory / 56 && count <= memory / 24, "\(count) keys in \(memory) bytes")
    for key in 0..<count {
      #expect(Array("key-\(key)".utf8).withUnsafeBytes { map.newest($0) } == Int64(key))
    }
    #expect(Array("key-0".utf8).withUnsafeBytes { map.note($0, offset: 1 << 40) })
    #expect(!Array("other".utf8).withUnsafeBytes { map.note($0, offset: 1) })
  }

  @Test(arguments: [1024, 1 << 16, 8 << 20]) func lookingAheadChangesNothing(memory: Int) {
    var map = KeyMap(memory: memory)
    var count = 0
    while !map.isLarge || count % 100 != 0 {
      let key = Array("key-\(count)".utf8)
      key.withUnsafeBytes { map.expect($0) }
      #expect(key.withUnsafeBytes { map.note($0, offset: Int64(count)) } || map.isLarge)
      count += 1
    }
    let held = map.count
    for key in 0..<count + 100 { Array("key-\(key)".utf8).withUnsafeBytes { map.expect($0) } }
    for key in 0..<count + 100 {
      #expect(Array("key-\(key)".utf8).withUnsafeBytes { map.newest($0) } == (key < held ? Int64(key) : nil))
    }
    #expect(map.count == held)
  }

  @Test func keysThatNeverFitAreKnown() {
    var map = KeyMap(memory: 1024)
    let long = [UInt8](repeating: 7, count: 2000)
    #expect(!long.withUnsafeBytes { map.fits($0) })
    #expect(!long.withUnsafeBytes { map.note($0, offset: 1) })
    #expect([UInt8](repeating: 7, count: 700).withUnsafeBytes { map.fits($0) })
    #expect([UInt8]().withUnsafeBytes { map.note($0, offset: 5) })
    #expect([UInt8]().withUnsafeBytes { map.newest($0) } == 5)
  }
}
