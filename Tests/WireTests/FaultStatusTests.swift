import SkeinCore
import Testing

@testable import Wire

/// A fault crosses the wire without loss, and statuses that others made still make sense.
@Suite struct FaultStatusTests {
  @Test func everyReasonComesBack() throws {
    for reason in Reason.catalogue {
      let fault = Fault(reason, "why", metadata: ["topic": "orders"])
      let back = Fault(statusMessage: fault.statusMessage, code: reason.code, message: "why")
      #expect(back == fault)
      #expect(back.reason.outcome == reason.outcome && back.reason.retriable == reason.retriable)
    }
  }

  @Test func detailsComeBack() {
    let fault = Fault(
      .invalidRequest, "two fields are wrong", metadata: ["a": "1", "b": "2"],
      violations: [
        .init(field: "name", description: "empty"), .init(field: "partitions", description: "-1"),
      ],
      retryAfterMilliseconds: 1500)
    #expect(Fault(fault.status) == fault)
  }

  @Test func standardDetailsAreSent() throws {
    let status = Fault(.overloaded, "full", retryAfterMilliseconds: 250).status
    #expect(status.code == 14 && status.message == "full")
    #expect(
      status.details.map(\.typeUrl) == [
        "type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.RetryInfo",
      ])
    let info = try ErrorInfo(decoding: status.details[0].value)
    #expect(info.reason == "OVERLOADED" && info.domain == "skein")
    #expect(info.metadata == ["outcome": "definite", "retriable": "true"])
    #expect(
      try RetryInfo(decoding: status.details[1].value).retryDelay == DurationMessage(nanos: 250_000_000))
  }

  /// What the metadata say, in the words of google.rpc.
  @Test func resourceAndQuotaAreNamed() throws {
    let prefix = "type.googleapis.com/google.rpc."
    let missing = Fault(.partitionNotFound, "no", metadata: ["topic": "orders", "partition": "9"]).status
    #expect(missing.details.map(\.typeUrl) == [prefix + "ErrorInfo", prefix + "ResourceInfo"])
    let resource = try ResourceInfo(decoding: missing.details[1].value)
    #expect(resource.resourceType == "partition" && resource.resourceName == "orders/9")
    #expect(Fault(.topicExists, "x", metadata: ["topic": "a"]).resource?.type == "topic")
    #expect(Fault(.overloaded, "x").resource == nil)

    let large = Fault(.batchTooLarge, "too large", metadata: ["topic": "orders", "limit": "1024"]).status
    #expect(large.details.last?.typeUrl == prefix + "QuotaFailure")
    let quota = try QuotaFailure(decoding: large.details.last?.value ?? [])
    #expect(quota.violations.first?.subject == "topic:orders" && quota.violations.first?.quotaValue == 1024)
    #expect(quota.violations.first?.quotaMetric == "skein/BATCH_TOO_LARGE")
    let nothing = Fault(.diskFull, "full").status
    #expect(
      try QuotaFailure(decoding: nothing.details.last?.value ?? []).violations.first?.subject == "broker")
  }

  /// A hostile request can have any number of wrong fields of any length; the answer still fits the
  /// 8 KiB of metadata that stock clients take.
  @Test func detailsAreBounded() {
    let long = String(repeating: "wörd ", count: 20_000)
    let violations = (0..<500).map {
      Fault.FieldViolation(field: "set[s\($0)]", description: "unknown setting; known: a, b, c, d, e, f")
    }
    let many = Fault(.invalidRequest, long, violations: violations)
    #expect(many.statusMessage.count < 6_000)
    let back = Fault(many.status)
    #expect(back.violations.count > 20 && back.violations.last?.description.contains("more") == true)
    #expect(back.message.hasSuffix("…") && back.message.hasPrefix("wörd wörd"))
    let one = Fault(.invalidRequest, "x", violations: [.init(field: long, description: long)])
    #expect(one.statusMessage.count < 6_000)
  }

  /// A newer broker's reason keeps its name, code, outcome and whether to retry.
  @Test func unknownReasonsKeepWhatTheySay() {
    let info = ErrorInfo(
      reason: "MOON_PHASE", domain: "skein",
      metadata: ["outcome": "definite", "retriable": "true", "phase": "full"])
    let detail = AnyMessage(typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: info.encoded())
    let fault = Fault(Status(code: 9, message: "wait", details: [detail]))
    #expect(fault.reason.name == "MOON_PHASE" && fault.code == .failedPrecondition)
    #expect(fault.reason.outcome == .definite && fault.reason.retriable)
    #expect(fault.metadata == ["phase": "full"])
  }

  @Test func foreignStatusesFallBackToTheCode() {
    let cases: [(StatusCode, Reason)] = [
      (.unavailable, .connectionLost), (.deadlineExceeded, .deadlineExceeded), (.cancelled, .cancelled),
      (.unimplemented, .methodUnknown), (.internal, .internalError), (.permissionDenied, .permissionDenied),
    ]
    for (code, reason) in cases {
      #expect(Fault(statusMessage: [], code: code, message: "m").reason == reason)
      #expect(Fault(statusMessage: [0xff, 0xff], code: code, message: "m").reason == reason)
    }
    let plain = Fault(statusMessage: [], code: .alreadyExists, message: "m")
    #expect(plain.reason.name == "ALREADY_EXISTS" && plain.code == .alreadyExists && plain.message == "m")
    // A status whose code contradicts the call's is not believed.
    let lie = Fault(.topicNotFound, "x").statusMessage
    #expect(Fault(statusMessage: lie, code: .unavailable, message: "m").reason == .connectionLost)
  }

  @Test func absurdDetailsAreIgnored() {
    for delay in [DurationMessage(seconds: -1), DurationMessage(seconds: .max), DurationMessage(nanos: -5)] {
      let detail = AnyMessage(
        typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value: RetryInfo(retryDelay: delay).encoded())
      #expect(Fault(Status(code: 14, details: [detail])).retryAfterMilliseconds == nil)
    }
    #expect(Fault(Status(code: 99, message: "?")).code == .unknown)
    #expect(Fault(Status(code: -1)).code == .unknown)
  }
}
