import SkeinCore
internal import Synchronization

/// A repeatable sequence (SplitMix64). Threading: any thread; the order of calls decides who gets what.
package final class SeededRandom: RandomSource {
  private let state: Mutex<UInt64>

  package init(seed: UInt64) { state = Mutex(seed) }

  package func next() -> UInt64 {
    state.withLock { state in
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = state
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      return word ^ (word >> 31)
    }
  }

  /// Uniform enough for tests; 0 when `bound` is 0.
  package func below(_ bound: Int) -> Int { bound <= 0 ? 0 : Int(next() % UInt64(bound)) }
  /// True in `percent` of the cases.
  package func chance(_ percent: Int) -> Bool { below(100) < percent }
}
