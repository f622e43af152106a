import SkeinCore
import Synchronization

/// A reproducible random source (xorshift64*).
final class SeededRandom: RandomSource {
  private let state: Mutex<UInt64>

  init(_ seed: UInt64) { state = Mutex(seed &* 0x9e37_79b9_7f4a_7c15 | 1) }

  func next() -> UInt64 {
    state.withLock { state in
      state ^= state >> 12
      state ^= state << 25
      state ^= state >> 27
      return state &* 0x2545_f491_4f6c_dd1d
    }
  }

  func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  func chance(_ percent: Int) -> Bool { below(100) < percent }
}
