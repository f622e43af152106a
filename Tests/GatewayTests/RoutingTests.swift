import Foundation
import NIOCore
import SkeinCore
import Testing

@testable import Gateway
@testable import Transport
@testable import Wire

/// From headers to a call, or to a refusal.
@Suite struct RoutingTests {
  static let gateway = JSONGateway()

  private func open(
    _ method: String, _ target: String, _ headers: Metadata = Metadata(), type: String? = nil,
    length: Int? = nil,
    noBody: Bool = true
  ) -> HTTPOpening {
    Self.gateway.open(
      HTTPRequest(
        method: method, target: target, contentType: type, contentLength: length, headers: headers,
        hasNoBody: noBody))
  }

  /// Status and reason of a refusal.
  private func refused(_ opening: HTTPOpening) -> String {
    guard case .answer(let response) = opening else { return "a call" }
    let object = try? JSONSerialization.jsonObject(with: Data(response.body.array)) as? [String: Any]
    let details = object?["details"] as? [[String: Any]]
    return "\(response.status) \(details?.first?["reason"] as? String ?? "-")"
  }

  private func plan(_ opening: HTTPOpening) throws -> HTTPCallPlan {
    if case .call(let plan) = opening { return plan }
    Issue.record("\(refused(opening))")
    throw Fault(.internalError, "not a call")
  }

  /// The message that a request becomes.
  private func message(_ method: String, _ target: String, _ body: String = "") throws -> [UInt8] {
    let plan = try plan(open(method, target, type: "application/json", noBody: body.isEmpty))
    nonisolated(unsafe) var result: HTTPTranslation?  // small bodies are done at once, on this thread
    plan.translator.request(SharedBytes(Array(body.utf8))) { result = $0 }
    switch try #require(result) {
    case .message(let message): return message.array
    case .refused(let response):
      let object = try JSONSerialization.jsonObject(with: Data(response.body.array)) as? [String: Any]
      throw Fault(.jsonInvalid, text(response.body.array), violations: Self.violations(object))
    }
  }

  private static func violations(_ object: [String: Any]?) -> [Fault.FieldViolation] {
    let details = object?["details"] as? [[String: Any]] ?? []
    return details.flatMap { $0["fieldViolations"] as? [[String: Any]] ?? [] }.map {
      .init(field: $0["field"] as? String ?? "", description: $0["description"] as? String ?? "")
    }
  }

  // MARK: The table

  @Test func everyRouteLeadsToItsFields() throws {
    #expect(RouteTable.standard.routes.count > 20)
    for route in RouteTable.standard.routes {
      let input = try schema(route.rpc.input)
      _ = try schema(route.rpc.output)
      #expect(route.rpc.isUnary)
      let bindings =
        route.query + Array(route.constants.keys)
        + route.segments.compactMap { if case .variable(let binding) = $0 { binding } else { nil } }
      for binding in bindings {
        var at = input
        for (index, name) in binding.field.enumerated() {
          let field = try #require(at.field(named: name), "\(route.template): \(name)")
          #expect(field.name == name)
          if case .message(let nested) = field.kind {
            at = nested
          } else {
            #expect(index == binding.field.count - 1)
          }
        }
      }
      let path = route.segments.map { if case .literal(let text) = $0 { text } else { "7" } }
      guard case .route(let found, _) = try RouteTable.standard.find(route.method, path, text: "") else {
        Issue.record("\(route.template)")
        continue
      }
      #expect(found.rpc == route.rpc && found.template == route.template, "\(route.template) is shadowed")
    }
  }

  @Test func everyUnaryMethodIsReachable() throws {
    let unary = Contract.methods.filter(\.isUnary)
    #expect(unary.count >= 12)
    for rpc in unary { #expect(try plan(open("POST", "/v1/\(rpc.name)")).path == "/\(rpc.name)") }
  }

  @Test func ownsOnlyItsPaths() {
    for (target, owned) in [
      ("/v1", true), ("/v1/", true), ("/v1/topics", true), ("/v1?x", true), ("/v1x", false), ("/", false),
      ("/skein.v1.Topics/Create", false), ("", false), ("/v2/topics", false),
    ] {
      #expect(Self.gateway.owns(target) == owned, "\(target)")
    }
  }

  // MARK: Path and query into the message

  @Test func pathAndQueryBecomeFields() throws {
    let fetch = try FetchRequest(
      decoding: try message("GET", "/v1/topics/a%2Db/partitions/3/records?offset=12&lastEpoch=2&max_bytes=99")
    )
    #expect(fetch.partitions == [FetchPartition(topic: "a-b", partition: 3, offset: 12, lastEpoch: 2)])
    #expect(fetch.maxBytes == 99 && fetch.decoded)
    #expect(
      try FetchRequest(decoding: message("GET", "/v1/topics/a/partitions/0/records?decoded=false")).decoded
        == false)
    let offsets = try ListOffsetsRequest(
      decoding: try message("GET", "/v1/topics/a/offsets?spec=latest&partitions=2&partitions=0"))
    #expect(offsets.spec == .latest && offsets.partitions == [2, 0])
    #expect(try ListOffsetsRequest(decoding: message("GET", "/v1/topics/a/offsets?spec=1")).spec == .earliest)
    let create = try CreateTopicRequest(
      decoding: try message("POST", "/v1/topics", #"{"name":"x","partitions":3}"#))
    #expect(create.name == "x" && create.partitions == 3)
    let publish = try PublishRequest(
      decoding: try message("POST", "/v1/topics/t%C3%BC/records?bytes=text", #"{"records":[{"value":"ü"}]}"#))
    #expect(publish.topic == "tü" && publish.records.first?.value == SharedBytes(Array("ü".utf8)))
    #expect(
      try ListTopicsRequest(decoding: message("GET", "/v1/topics?pageToken=a+b%20c")).pageToken == "a b c")
  }

  @Test func bodyMayRepeatThePathButNotContradictIt() throws {
    let same = try message("POST", "/v1/topics/a/records", #"{"topic":"a"}"#)
    #expect(try PublishRequest(decoding: same).topic == "a")
    let fault = refusal { _ = try message("POST", "/v1/topics/a/records", #"{"topic":"b"}"#) }
    #expect(fault?.message.contains("PARAMETER_INVALID") == true && fault?.violations.first?.field == "topic")
  }

  @Test func wrongParametersAreNamedAsTheCallerNamedThem() {
    let fault = refusal { _ = try message("GET", "/v1/topics/a/partitions/x/records?offset=soon") }
    #expect(fault?.violations.map(\.field) == ["offset", "partition"])
    #expect(fault?.message.contains("PARAMETER_INVALID") == true)
  }

  // MARK: Refusals by the headers

  @Test func refusals() {
    for (expected, opening) in [
      ("404 PATH_UNKNOWN", open("GET", "/v1")),
      ("404 PATH_UNKNOWN", open("GET", "/v1/")),
      ("404 PATH_UNKNOWN", open("GET", "/v1/topics/")),
      ("404 PATH_UNKNOWN", open("GET", "/v1/topics/a/b/c/d/e/f")),
      ("404 PATH_UNKNOWN", open("POST", "/v1/skein.v1.Topics/Creat")),
      ("501 METHOD_UNKNOWN", open("POST", "/v1/skein.v1.Producer/PublishStream")),
      ("404 PATH_UNKNOWN", open("POST", "/v1/etcdserverpb.KV/Range")),
      ("405 HTTP_METHOD_NOT_ALLOWED", open("PUT", "/v1/topics")),
      ("405 HTTP_METHOD_NOT_ALLOWED", open("HEAD", "/v1/topics/a/records")),
      ("405 HTTP_METHOD_NOT_ALLOWED", open("POST", "/v1/openapi.json")),
      ("405 HTTP_METHOD_NOT_ALLOWED", open("GET", "/v1/skein.v1.Topics/Create")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics/%")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics/%zz")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics/%ff")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics/%00")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?pageSize=%4")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?page=1")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?pageSize=1&pageSize=2")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?bytes=hex")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?timeout=5")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?timeout=0s")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?timeout=601s")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?timeout=99999999m")),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics?" + String(repeating: "a&", count: 2_001))),
      ("400 PARAMETER_INVALID", open("GET", "/v1/topics", ["timeout": "soon"])),
      ("400 PARAMETER_INVALID", open("POST", "/v1/topics?name=x", type: "application/json")),
      ("403 PERMISSION_DENIED", open("GET", "/v1/topics", ["origin": "https://evil.example"])),
      ("406 NOT_ACCEPTABLE", open("GET", "/v1/topics", ["accept": "text/html"])),
      ("406 NOT_ACCEPTABLE", open("GET", "/v1/topics", ["accept": "application/json;q=0, text/html"])),
      ("415 MEDIA_TYPE_UNSUPPORTED", open("POST", "/v1/topics", noBody: false)),
      ("415 MEDIA_TYPE_UNSUPPORTED", open("POST", "/v1/topics", type: "text/plain", noBody: false)),
      (
        "415 MEDIA_TYPE_UNSUPPORTED",
        open("POST", "/v1/topics", type: "application/json; charset=latin1", noBody: false)
      ),
      (
        "415 ENCODING_UNSUPPORTED",
        open("POST", "/v1/topics", ["content-encoding": "gzip"], type: "application/json", noBody: false)
      ),
      (
        "413 MESSAGE_TOO_LARGE",
        open("POST", "/v1/topics", type: "application/json", length: 17 << 20, noBody: false)
      ),
      (
        "413 MESSAGE_TOO_LARGE",
        open("POST", "/v1/topics", type: "application/json", length: .max, noBody: false)
      ),
    ] {
      #expect(refused(opening) == expected)
    }
  }

  @Test func acceptedHeaders() throws {
    for accept in ["*/*", "application/json", "text/html, application/*;q=0.1", "APPLICATION/JSON; q=1"] {
      _ = try plan(open("GET", "/v1/topics", ["accept": accept]))
    }
    _ = try plan(
      open("POST", "/v1/topics", type: "Application/JSON; charset=\"UTF-8\"", length: 2, noBody: false))
    // No body, no type: an empty message.
    _ = try plan(open("POST", "/v1/topics", length: 0, noBody: false))
    guard case .answer(let options) = open("OPTIONS", "/v1/topics/a") else { return }
    #expect(
      options.status == 204
        && options.headers.contains { $0 == ("allow", "DELETE, GET, HEAD, PATCH, OPTIONS") })
    guard case .answer(let document) = open("GET", "/v1/openapi.json") else { return }
    #expect(document.status == 200 && document.body.count > 10_000)
  }

  @Test func nearestPath() {
    guard case .answer(let response) = open("GET", "/v1/topic/orders/ofsets") else { return }
    #expect(
      text(response.body.array).contains(#"did you mean \"/v1/topics/orders/offsets\"?"#),
      "\(text(response.body.array))")
  }

  @Test func timeouts() throws {
    func seconds(_ opening: HTTPOpening) throws -> Int64 {
      let deadline = try #require(try plan(opening).deadline)
      return ((deadline - .now()).nanoseconds + 500_000_000) / 1_000_000_000
    }
    #expect(try seconds(open("GET", "/v1/topics?timeout=5s")) == 5)
    #expect(try seconds(open("GET", "/v1/topics?timeout=2m")) == 120)
    #expect(try seconds(open("GET", "/v1/topics", ["timeout": "7000ms"])) == 7)
    #expect(try seconds(open("GET", "/v1/topics")) == 90)
    let request = HTTPRequest(
      method: "GET", target: "/v1/topics", timeoutNanoseconds: 3_000_000_000, hasNoBody: true)
    #expect(try seconds(Self.gateway.open(request)) == 3)
    let bad = HTTPRequest(method: "GET", target: "/v1/topics", timeoutIsMalformed: true, hasNoBody: true)
    #expect(refused(Self.gateway.open(bad)) == "400 PARAMETER_INVALID")
  }

  // MARK: Answers

  @Test func everyReasonHasAnHTTPStatus() {
    for reason in Reason.catalogue where reason.code != .ok {
      let response = HTTPResponse(Fault(reason, "x"))
      #expect((400...599).contains(response.status), "\(reason.name)")
      #expect(
        text(response.body.array).contains("\"reason\":\"\(reason.name)\""), "\(text(response.body.array))")
    }
    let overloaded = HTTPResponse(Fault(.overloaded, "x", retryAfterMilliseconds: 1_500))
    #expect(overloaded.status == 503 && overloaded.headers.contains { $0 == ("retry-after", "2") })
  }

  // MARK: Memory

  /// The translator of a request through a gateway with this budget.
  private func translator(_ method: String, _ target: String, _ gateway: JSONGateway) throws
    -> any HTTPTranslator
  {
    let request = HTTPRequest(
      method: method, target: target, contentType: "application/json", hasNoBody: method == "GET")
    return try plan(gateway.open(request)).translator
  }

  private func request(_ translator: any HTTPTranslator, _ body: String) async -> HTTPTranslation {
    await withCheckedContinuation { done in
      translator.request(SharedBytes(Array(body.utf8))) { done.resume(returning: $0) }
    }
  }

  private func response(_ translator: any HTTPTranslator, _ message: [UInt8]) async -> HTTPResponse {
    await withCheckedContinuation { done in
      translator.response(OutboundMessage(head: message), .ok) { done.resume(returning: $0) }
    }
  }

  /// Trees and messages are charged while they live, and given back.
  @Test func theBudgetIsAsked() async throws {
    let budget = MemoryBudget(limit: 64 << 10)
    let gateway = JSONGateway(budget: budget)
    let publish = try translator("POST", "/v1/topics/a/records", gateway)
    let records = [String](repeating: #"{"value":"YWFh"}"#, count: 2_000).joined(separator: ",")
    guard case .refused(let refusal) = await request(publish, "{\"records\":[\(records)]}") else {
      Issue.record("accepted")
      return
    }
    #expect(refusal.status == 503 && text(refusal.body.array).contains("OVERLOADED"))
    #expect(refusal.headers.contains { $0 == ("retry-after", "1") } && budget.reserved == 0)
    // The message is charged as long as the handler holds it.
    guard case .message(let message) = await request(publish, #"{"records":[{"value":"YWFh"}]}"#) else {
      Issue.record("refused")
      return
    }
    #expect(budget.reserved == message.count && message.count > 0)
    await gateway.close()
  }

  /// A read may still be refused when its answer finds no room; what has changed something is always answered.
  @Test func aChangeIsAnsweredWhateverTheBudgetSays() async throws {
    let budget = MemoryBudget(limit: 10)
    let gateway = JSONGateway(budget: budget)
    let list = ListTopicsResponse(topics: [TopicSummary](repeating: TopicSummary(name: "orders"), count: 50))
      .encoded()
    #expect(await response(try translator("GET", "/v1/topics", gateway), list).status == 503)
    #expect(await response(try translator("POST", "/v1/skein.v1.Topics/List", gateway), list).status == 503)
    let results = PublishResponse(results: [RecordResult](repeating: RecordResult(offset: 7), count: 50))
      .encoded()
    #expect(await response(try translator("POST", "/v1/topics/a/records", gateway), results).status == 200)
    #expect(budget.reserved == 0)
    await gateway.close()
  }

  /// Large bodies and answers go through the thread of the gateway, and come out the same.
  @Test func largeBodiesAreWorkedOnElsewhere() async throws {
    let gateway = JSONGateway()
    let publish = try translator("POST", "/v1/topics/a/records", gateway)
    let value = String(repeating: "YWFh", count: 10_000)
    guard case .message(let message) = await request(publish, "{\"records\":[{\"value\":\"\(value)\"}]}")
    else {
      Issue.record("refused")
      return
    }
    #expect(try PublishRequest(decoding: message).records.first?.value?.count == 30_000)
    let fetch = FetchResponse(partitions: [
      PartitionRecords(records: [StoredRecord(value: SharedBytes([UInt8](repeating: 97, count: 30_000)))])
    ])
    let answer = await response(try translator("POST", "/v1/fetch", gateway), fetch.encoded())
    #expect(answer.status == 200 && text(answer.body.array).contains(value))
    await gateway.close()
  }

  // MARK: Names of fields

  @Test func handlersFieldNamesAreTranslated() throws {
    let list = try schema("skein.v1.ListTopicsRequest")
    #expect(JSONTranslator.jsonPath("page_size", list) == "pageSize")
    let fetch = try schema("skein.v1.FetchRequest")
    #expect(JSONTranslator.jsonPath("partitions[2].last_epoch", fetch) == "partitions[2].lastEpoch")
    #expect(JSONTranslator.jsonPath("no_such.thing", fetch) == "no_such.thing")
    let create = try schema("skein.v1.CreateTopicRequest")
    #expect(JSONTranslator.jsonPath("settings[retention.ms]", create) == "settings[retention.ms]")
    #expect(JSONTranslator.jsonPath("settings[", create) == "settings[")
  }
}
