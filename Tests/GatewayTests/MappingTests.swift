import Foundation
import SkeinCore
import Testing

@testable import Gateway
@testable import Wire

/// The proto JSON mapping, in both directions.
@Suite struct MappingTests {
  static let publish = "skein.v1.PublishRequest"
  static let create = "skein.v1.CreateTopicRequest"
  static let fetch = "skein.v1.FetchRequest"

  // MARK: Against Python

  @Test func everyMessageHasVectors() {
    let named = Set(JSONVector.all.map(\.schema.fullName))
    for (name, schema) in MessageSchema.all where !name.hasSuffix("Entry") {
      #expect(
        named.contains(schema.fullName) || name == "google.protobuf.Any", "\(name): run make_json_vectors.py")
    }
    #expect(JSONVector.all.count >= 300)
  }

  @Test func writesWhatPythonWrites() throws {
    for vector in JSONVector.all where vector.schema.fullName != "google.protobuf.Duration" {
      #expect(
        try decode(vector.bytes, vector.schema) == canonical(vector.full), "\(vector.schema.fullName)")
    }
  }

  @Test func readsWhatPythonWrites() throws {
    for vector in JSONVector.all where vector.schema.fullName != "google.protobuf.Duration" {
      #expect(
        try encode(Array(vector.full.utf8), vector.schema) == vector.bytes,
        "\(vector.schema.fullName), full: \(vector.full)")
      #expect(
        try encode(Array(vector.brief.utf8), vector.schema) == vector.bytes,
        "\(vector.schema.fullName), brief")
    }
  }

  /// Only types that have a JSON form here may be used by the contract.
  @Test func wellKnownTypesAreCovered() {
    for name in MessageSchema.all.keys where name.hasPrefix("google.protobuf.") {
      #expect(WellKnownType(rawValue: name) != nil, "\(name) has a JSON form of its own, which Gateway lacks")
    }
  }

  // MARK: What is accepted

  @Test func namesOfBothKinds() throws {
    let camel = try encode(#"{"maxWaitMs":5,"partitions":[{"lastEpoch":2}]}"#, Self.fetch)
    let snake = try encode(#"{"max_wait_ms":5,"partitions":[{"last_epoch":2}]}"#, Self.fetch)
    #expect(camel == snake && camel == [0x0a, 2, 0x20, 2, 0x20, 5])
  }

  @Test(arguments: [
    "9223372036854775807", "-9223372036854775808", "0", "1e3", "5.0", "\"9223372036854775807\"", "\"-1\"",
    "\"1e3\"",
  ]) func integersOf64Bits(_ literal: String) throws {
    let bytes = try encode(#"{"offset":\#(literal)}"#, "skein.v1.FetchPartition")
    let plain = literal.replacing("\"", with: "")
    let value = Int64(plain) ?? Int64(Double(plain) ?? .nan)
    #expect(try FetchPartition(decoding: bytes).offset == value)
  }

  @Test func enumsByNameAndNumber() throws {
    #expect(try encode(#"{"acks":"ACKS_ALL"}"#, Self.publish) == [0x18, 3])
    #expect(try encode(#"{"acks":3}"#, Self.publish) == [0x18, 3])
    #expect(try encode(#"{"acks":77}"#, Self.publish) == [0x18, 77])
    #expect(try decode([0x18, 77], schema(Self.publish)) == "{\"acks\":77,\"records\":[],\"topic\":\"\"}\n")
  }

  @Test(arguments: ["-_8=", "-_8", "+/8=", "+/8"]) func base64OfBothAlphabets(_ text: String) throws {
    let bytes = try encode(#"{"records":[{"value":"\#(text)"}]}"#, Self.publish)
    #expect(try PublishRequest(decoding: bytes).records[0].value == SharedBytes([0xfb, 0xff]))
  }

  @Test func nullIsAbsent() throws {
    #expect(try encode(#"{"topic":null,"records":null,"acks":null}"#, Self.publish).isEmpty)
    #expect(try encode(#"{"records":[{"key":null,"value":""}]}"#, Self.publish) == [0x0a &+ 8, 2, 0x12, 0])
  }

  /// An empty key is a key; a record without one has none.
  @Test func presenceIsKept() throws {
    let bytes = try encode(#"{"records":[{"key":"","partition":0},{}]}"#, Self.publish)
    let request = try PublishRequest(decoding: bytes)
    #expect(request.records[0].key == .empty && request.records[0].partition == 0)
    #expect(request.records[1].key == nil && request.records[1].partition == nil)
    #expect(
      try decode(bytes, schema(Self.publish)).contains(
        #""records":[{"headers":[],"key":"","partition":0,"timestampMs":"0"},{"headers":[],"timestampMs":"0"}]"#
      ))
  }

  @Test func bytesAsText() throws {
    let bytes = try encode(
      #"{"records":[{"key":"größe","value":{"base64":"//8="}}]}"#, Self.publish, form: .text)
    let record = try PublishRequest(decoding: bytes).records[0]
    #expect(record.key == SharedBytes(Array("größe".utf8)) && record.value == SharedBytes([255, 255]))
    let json = try decode(bytes, schema(Self.publish), form: .text)
    #expect(json.contains(#""key":"größe""#) && json.contains(#""value":{"base64":"//8="}"#), "\(json)")
  }

  @Test func durations() {
    for (text, seconds, nanos) in [
      ("1.5s", Int64(1), Int32(500_000_000)), ("-0.000001s", 0, -1000), ("0s", 0, 0),
    ] {
      let duration = DurationText(text)
      #expect(duration?.seconds == seconds && duration?.nanos == nanos, "\(text)")
    }
    for bad in ["1", "s", "1.s", ".5s", "1.5", "315576000001s", "1.0000000001s", "--1s", "1e3s", "+1s"] {
      #expect(DurationText(bad) == nil, "\(bad)")
    }
    #expect(DurationText(seconds: 1, nanos: 500_000_000).text == "1.500s")
    #expect(DurationText(seconds: 0, nanos: -1000).text == "-0.000001s")
  }

  /// Occurrences of one message field merge, as protobuf says.
  @Test func repeatedOccurrencesMerge() throws {
    let first = try encode(#"{"limits":{"maxStreams":5}}"#, "skein.v1.DescribeClusterResponse")
    let second = try encode(#"{"limits":{"maxBatchBytes":"7"}}"#, "skein.v1.DescribeClusterResponse")
    let json = try decode(first + second, schema("skein.v1.DescribeClusterResponse"))
    #expect(json.contains(#""maxBatchBytes":"7""#) && json.contains(#""maxStreams":5"#), "\(json)")
  }

  // MARK: What is refused

  @Test func unknownFieldsNameTheNearest() {
    expectRefused(
      #"{"nam":"x","settings":{},"partition":1}"#, Self.create, .jsonInvalid,
      [("nam", "did you mean \"name\"?"), ("partition", "did you mean \"partitions\"?")])
    expectRefused(#"{"zzzzzzzz":1}"#, Self.create, .jsonInvalid, [("zzzzzzzz", "known: name, partitions")])
  }

  @Test func wrongTypesNameTheirPlace() {
    expectRefused(
      #"{"topic":1,"acks":"ACKS_AL","records":[{},{"headers":[{"name":true}],"timestampMs":"soon"},7,null]}"#,
      Self.publish, .jsonInvalid,
      [
        ("acks", "did you mean \"ACKS_ALL\"?"), ("records[1].headers[0].name", "must be a string, not true"),
        ("records[1].timestampMs", "must be a whole number from -9223372036854775808"),
        ("records[2]", "must be an object (skein.v1.Record), not 7"), ("records[3]", "must not be null"),
        ("topic", "must be a string, not 1"),
      ])
    expectRefused(
      #"{"settings":{"retention.ms":5,"x":null}}"#, Self.create, .jsonInvalid,
      [("settings[\"retention.ms\"]", "must be a string, not 5"), ("settings[\"x\"]", "must not be null")])
    expectRefused(
      #"{"records":{}}"#, Self.publish, .jsonInvalid, [("records", "must be an array, not an object")])
    expectRefused(
      #"{"settings":[]}"#, Self.create, .jsonInvalid, [("settings", "must be an object, not an array")])
    expectRefused(#"{"decoded":"true"}"#, Self.fetch, .jsonInvalid, [("decoded", "must be true or false")])
    expectRefused(#"{"decoded":1}"#, Self.fetch, .jsonInvalid, [("decoded", "must be true or false, not 1")])
  }

  @Test(arguments: [
    "2147483648", "-2147483649", "1.5", "\"\"", "\" 1\"", "\"+1\"", "\"0x10\"", "\"1_0\"", "true", "[]",
    "1e99", "\"nan\"",
  ]) func integersOutOfRange(_ literal: String) {
    expectRefused(
      #"{"partitions":\#(literal)}"#, Self.create, .jsonInvalid, [("partitions", "must be a whole number")])
  }

  @Test func unsignedIsNotNegative() {
    expectRefused(
      #"{"maxBytes":-1}"#, Self.fetch, .jsonInvalid, [("maxBytes", "from 0 to 4294967295, not -1")])
    expectRefused(
      #"{"maxBytes":4294967296}"#, Self.fetch, .jsonInvalid, [("maxBytes", "from 0 to 4294967295")])
  }

  @Test(arguments: ["a", "!!!!", "YQ==YQ==", "Y Q=", "YQ=", "äö"]) func badBase64(_ text: String) {
    expectRefused(
      #"{"records":[{"value":"\#(text)"}]}"#, Self.publish, .jsonInvalid,
      [("records[0].value", "must be base64")])
  }

  @Test func textFormRefusesOtherObjects() {
    expectRefused(
      #"{"records":[{"value":{"base65":""}}]}"#, Self.publish, .jsonInvalid,
      [("records[0].value", "must be a string, or")],
      form: .text)
  }

  @Test func aFieldTwice() {
    expectRefused(
      #"{"maxBytes":1,"max_bytes":2}"#, Self.fetch, .jsonInvalid, [("maxBytes", "is given twice")])
  }

  @Test func membersOfAOneofExcludeEachOther() throws {
    let operation = "etcdserverpb.RequestOp"
    #expect(try encode(#"{"requestPut":{}}"#, operation).count == 2)
    let fault = refusal { _ = try encode(#"{"requestPut":{},"requestRange":{}}"#, operation) }
    #expect(fault?.violations.first?.description.contains("excludes") == true)
  }

  @Test func nulInStrings() {
    expectRefused(#"{"name":"ord\u0000xy"}"#, Self.create, .jsonInvalid, [("name", "NUL")])
  }

  @Test func anyNeedsAKnownType() throws {
    let status = "google.rpc.Status"
    expectRefused(#"{"details":[{"a":1}]}"#, status, .jsonInvalid, [("details[0]", "must have \"@type\"")])
    expectRefused(
      #"{"details":[{"@type":"type.googleapis.com/no.Such"}]}"#, status, .jsonInvalid,
      [("details[0].@type", "must name")])
    let unknown: [UInt8] = [0x1a, 9, 0x0a, 4] + Array("x/no".utf8) + [0x12, 1, 7]
    #expect(try decode(unknown, schema(status)).contains(#"{"@type":"x/no","value":"Bw=="}"#))
  }

  @Test func problemsAreListedToALimit() {
    let many = (0..<100).map { "\"field\($0)\":1" }.joined(separator: ",")
    let fault = refusal { _ = try encode("{\(many)}", Self.create) }
    #expect(fault?.violations.count == JSONLimits().maxViolations)
  }

  // MARK: JSON itself

  @Test func malformedText() {
    // Each is wrong by itself: the members are fields of the message.
    for bad in [
      "{", "}", "{\"name\":}", "{'name':\"x\"}", "{\"partitions\":1,}", "{\"partitions\":01}",
      "{\"partitions\":NaN}",
      "{\"partitions\":1}x", "{\"name\":\"a\u{1}b\"}", "{\"name\":\"\\ud800\"}", "{\"name\":\"x",
      "{\"name\":\"x\\", "[]", "1",
      "\"x\"", "null", " ", "\u{feff}{}", "{\"partitions\":1e999}", "{]", "{\"name\" \"x\"}",
      "{\"name\":nul}", "//\n{}", "{}{}",
      "{\"settings\":{\"a\":\"b\",}}", "{\"name\":\"x\"\"partitions\":1}", "{,}",
    ] {
      expectRefused(bad, Self.create)
    }
    expectRefused("{\"reset\":[\"x\",]}", "skein.v1.UpdateTopicRequest")
    let notUTF8: [UInt8] = Array("{\"name\":\"".utf8) + [0xff] + Array("\"}".utf8)
    #expect(refusal { _ = try encode(notUTF8, schema(Self.create)) }?.message.contains("UTF-8") == true)
    let utf16 = Array("{}".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] })
    #expect(refusal { _ = try encode(utf16, schema(Self.create)) }?.message.contains("UTF-8") == true)
  }

  /// Refused before Foundation builds anything.
  @Test func limitsOfTheText() {
    var limits = JSONLimits()
    limits.maxNesting = 4
    limits.maxValues = 10
    func check(_ text: String) -> Fault? {
      refusal { _ = try encode(Array(text.utf8), try schema(Self.create), limits: limits) }
    }
    #expect(check("{\"a\":[[[[1]]]]}")?.message.contains("nested more than 4 deep at byte 8") == true)
    #expect(check("{\"a\":[1,2,3,4,5,6,7,8,9,10]}")?.message.contains("more than 10 values") == true)
    let deep = String(repeating: "[", count: 1_000_000)
    #expect(
      refusal { _ = try encode("{\"a\":" + deep, Self.create) }?.message.contains("nested more than 32")
        == true)
  }

  /// Bytes grow little on their way, but numbers may: -1 takes ten.
  @Test func theMessageMadeIsBounded() {
    var limits = JSONLimits()
    limits.maxBodyBytes = 100
    let json = "{\"partitions\":[" + [String](repeating: "-1", count: 50).joined(separator: ",") + "]}"
    let fault = refusal {
      _ = try encode(Array(json.utf8), try schema("skein.v1.ListOffsetsRequest"), limits: limits)
    }
    #expect(fault?.reason == .messageTooLarge)
  }

  /// Whatever arrives, it is a message or a refusal.
  @Test func mutatedBodiesNeverTrap() throws {
    let seed = UInt64(ProcessInfo.processInfo.environment["SKEIN_SEED"] ?? "") ?? 20_261_124
    var random = SeededRandom(seed: seed)
    let vectors = JSONVector.all
    let alphabet = Array("{}[],:\"\\ue0-+.E9tfn\u{0}\u{7f}".utf8) + [0xc3, 0xff]
    var accepted = 0
    for _ in 0..<3_000 {
      let vector = vectors[Int.random(in: 0..<vectors.count, using: &random)]
      var bytes = Array((Bool.random(using: &random) ? vector.full : vector.brief).utf8)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[at] = alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
        case 1: bytes.insert(alphabet[Int.random(in: 0..<alphabet.count, using: &random)], at: at)
        case 2: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...8, using: &random)))
        default: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 16)], at: at)
        }
        if bytes.isEmpty { bytes = [UInt8(ascii: "{")] }
      }
      do {
        let made = try encode(bytes, vector.schema)
        accepted += 1
        // What was accepted is a message that comes back.
        #expect(try encode(Array(decode(made, vector.schema).utf8), vector.schema) == made, "seed \(seed)")
      } catch let fault as Fault {
        #expect(fault.reason == .jsonInvalid, "seed \(seed): \(fault)")
      }
    }
    #expect(accepted > 20, "seed \(seed): \(accepted)")
  }
}
