import SkeinCore
import Testing

@testable import SkeinClient

@Suite struct EndpointTests {
  @Test(arguments: [
    ("localhost:7600", "localhost", 7600), ("broker", "broker", 7600), ("[::1]:9", "::1", 9),
    ("::1", "::1", 7600), ("10.0.0.1:1", "10.0.0.1", 1), ("[fe80::1]", "fe80::1", 7600),
  ])
  func parses(_ text: String, _ host: String, _ port: Int) throws {
    let endpoint = try Endpoint(text)
    #expect(endpoint.host == host && endpoint.port == port)
  }

  @Test(arguments: ["", ":1", "a:", "a:0", "a:70000", "a:x", "[::1", "[::1]x", "[]:1"])
  func refuses(_ text: String) {
    #expect(throws: SkeinError.self) { try Endpoint(text) }
  }

  @Test func backoffGrowsWithinItsBounds() {
    var backoff = Backoff()
    let random = SeededRandom(5)
    var ceiling: Int64 = 50_000_000
    for _ in 0..<40 {
      let wait = backoff.next(random)
      #expect(wait >= ceiling / 2 && wait <= ceiling)
      ceiling = min(ceiling * 2, 5_000_000_000)
    }
    backoff.reset()
    #expect(backoff.next(random) <= 50_000_000)
  }
}
