import Testing

@testable import Transport

@Suite struct CodecTests {
  @Test func percent() {
    #expect(PercentEncoding.decode(PercentEncoding.encode("a%b\u{e9}\n")) == "a%b\u{e9}\n")
  }
}
