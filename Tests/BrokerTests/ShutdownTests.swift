import Foundation
import Testing

@testable import Broker

@Suite(.serialized) struct ShutdownTests {
  /// Its periodic work is under way all the time; it ends all the same.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true])
  func aBrokerEndsWhateverItIsAt(_ isKilled: Bool) async throws {
    for round in 0..<12 {
      let test = try await TestBroker.start { $0.maintenanceMilliseconds = 1 }
      try await Task.sleep(for: .milliseconds(20 + 3 * round))
      if isKilled { await test.kill() } else { await test.stop() }
      try FileManager.default.removeItem(at: test.folder)
    }
  }
}
