import SkeinCore
import Testing

@testable import Transport

@Suite struct CodecTests {
  @Test func percentEncodingKeepsPrintableAndEscapesTheRest() {
    #expect(String(decoding: PercentEncoding.encode("a b~"), as: UTF8.self) == "a b~")
    #expect(String(decoding: PercentEncoding.encode("100%\n\u{e9}"), as: UTF8.self) == "100%25%0A%C3%A9")
    #expect(PercentEncoding.decode(Array("100%25%0a%C3%A9".utf8)) == "100%\n\u{e9}")
    for broken in ["%", "%4", "%zz", "50% off", "%%41"] {
      #expect(!PercentEncoding.decode(Array(broken.utf8)).isEmpty)
    }
    #expect(PercentEncoding.decode(Array("50% off".utf8)) == "50% off")
    #expect(PercentEncoding.decode(Array("%FF".utf8)) == "\u{fffd}")
  }

  /// RFC 4648, section 10, with and without padding.
  @Test func base64Vectors() {
    let vectors = [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
      ("foobar", "Zm9vYmFy"),
    ]
    for (plain, padded) in vectors {
      let bare = padded.filter { $0 != "=" }
      #expect(Base64.encode(Array(plain.utf8)) == Array(bare.utf8))
      #expect(Base64.decode(Array(padded.utf8)) == Array(plain.utf8))
      #expect(Base64.decode(Array(bare.utf8)) == Array(plain.utf8))
    }
    for broken in ["A", "AAAAA", "A===", "Zg=", "Zm8==", "Z g=", "Zm9v=", "=", "\u{e9}AAA"] {
      #expect(Base64.decode(Array(broken.utf8)) == nil, "\(broken)")
    }
    #expect(Base64.decode(Base64.encode((0...255).map { UInt8($0) })) == (0...255).map { UInt8($0) })
  }

  @Test func timeouts() {
    #expect(GRPCTimeout.decode(Array("1S".utf8)) == 1_000_000_000)
    #expect(GRPCTimeout.decode(Array("250m".utf8)) == 250_000_000)
    #expect(GRPCTimeout.decode(Array("99999999H".utf8)) == .max)
    #expect(GRPCTimeout.decode(Array("99999999n".utf8)) == 99_999_999)
    for broken in ["", "S", "5", "5s", "123456789S", "-1S", "1 S", "1.5S", "+1S"] {
      #expect(GRPCTimeout.decode(Array(broken.utf8)) == nil, "\(broken)")
    }
    for nanoseconds: Int64 in [0, 1, 99_999_999, 100_000_000, 100_000_001, 5_000_000_000, .max] {
      let text = GRPCTimeout.encode(nanoseconds: nanoseconds)
      let back = GRPCTimeout.decode(text) ?? -1
      #expect(text.count <= 9)
      #expect(back >= nanoseconds, "a deadline must not shrink on its way")
      #expect(Double(back) <= Double(nanoseconds) * 1.001 + 1)
    }
    #expect(GRPCTimeout.encode(nanoseconds: -5) == Array("0n".utf8))
  }

  @Test func customMetadataNames() {
    for good in ["x", "x-request-id", "trace.id", "a_b-bin", "0"] { #expect(Metadata.isCustom(good.utf8)) }
    for bad in ["", ":path", "grpc-status", "te", "content-type", "X", "a b", "a\n", "\u{e9}", "connection"] {
      #expect(!Metadata.isCustom(bad.utf8), "\(bad)")
    }
  }

  @Test func headBuilderReadsWhatMatters() {
    let head = HeadBuilder()
    func add(_ name: String, _ value: String, limit: Int = 4096) -> Bool {
      Array(name.utf8).withUnsafeBufferPointer { name in
        Array(value.utf8).withUnsafeBufferPointer { head.add(name, $0, limit: limit) }
      }
    }
    for (name, value) in [
      (":method", "POST"), (":path", "/a/B"), ("content-type", "application/grpc+proto"),
      ("grpc-timeout", "1S"),
      ("x-b-bin", "AQI,Aw=="), ("user-agent", "t"),
    ] { #expect(add(name, value)) }
    #expect(head.isPost && head.contentTypeIsGRPC && head.path == "/a/B")
    #expect(head.timeout == .nanoseconds(1_000_000_000))
    #expect(head.metadata.entries.map(\.value) == [[1, 2], [3], Array("t".utf8)])
    head.reset()
    #expect(add("content-type", "application/grpcx"))
    #expect(!head.contentTypeIsGRPC && head.path.isEmpty && head.metadata.isEmpty)
    #expect(add("grpc-timeout", "soon"))
    #expect(head.timeout == .malformed)
    #expect(add("grpc-status", "99999999999"))
    #expect(head.status?.code == .unknown)
    #expect(!add("x", String(repeating: "y", count: 5000)))
  }
}
