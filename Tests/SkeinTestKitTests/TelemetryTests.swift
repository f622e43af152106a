import InMemoryTracing
import Metrics
import MetricsTestKit
import SkeinClient
import SkeinTestKit
import Synchronization
import Testing
import Tracing

/// What swift-metrics and swift-distributed-tracing get to see.
@Suite(.timeLimit(.minutes(1))) struct TelemetryTests {
  /// The process's metrics, bootstrapped once; tests look at topics of their own.
  private static let metrics: TestMetrics = {
    let metrics = TestMetrics()
    MetricsSystem.bootstrap(metrics)
    return metrics
  }()

  @Test func batchesAreCounted() async throws {
    let metrics = Self.metrics
    try await TestBroker.run { broker, client in
      try await client.admin.createTopic("counted", partitions: 1)
      let producer = try await client.producer()
      let topic = try await producer.topic("counted")
      for n in 0..<100 { try await topic.append(value: [UInt8(n)]) }
      try await producer.flush()
      #expect(try await readAll(client, "counted").count == 100)
      let dimensions = [("topic", "counted")]
      func total(_ label: String) throws -> Int64 {
        try metrics.expectCounter(label, dimensions).values.reduce(0, +)
      }
      #expect(try total("skein_client_sent_records") == 100)
      #expect(try total("skein_client_received_records") == 100)
      #expect(try total("skein_client_sent_bytes") == total("skein_client_received_bytes"))
      let batches = try total("skein_client_sent_batches")
      #expect(batches >= 1 && batches < 100)
      #expect(try metrics.expectTimer("skein_client_send_latency", dimensions).values.count == Int(batches))
      // A kill with something in flight is a retry.
      await broker.kill()
      try await topic.append(value: [1])
      try await broker.restart()
      try await producer.close()
      #expect(try total("skein_client_sent_records") == 101)
    }
  }

  /// A tracer that writes and reads W3C Trace Context; its spans are another's.
  private struct W3CTracer: Tracer {
    enum Key: ServiceContextKey { typealias Value = String }
    let spans = InMemoryTracer()

    func startSpan<Instant: TracerInstant>(
      _ operationName: String, context: @autoclosure () -> ServiceContext, ofKind kind: SpanKind,
      at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> InMemorySpan {
      spans.startSpan(
        operationName, context: context(), ofKind: kind, at: instant(), function: function, file: fileID,
        line: line)
    }
    func forceFlush() {}

    func inject<Carrier, Inject: Injector>(
      _ context: ServiceContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
      guard let parent = context[Key.self] else { return }
      injector.inject(parent, forKey: "traceparent", into: &carrier)
      injector.inject("vendor=1", forKey: "tracestate", into: &carrier)
    }
    func extract<Carrier, Extract: Extractor>(
      _ carrier: Carrier, into context: inout ServiceContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
      if let parent = extractor.extract(key: "traceparent", from: carrier) { context[Key.self] = parent }
    }
  }

  private static let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

  @Test func contextTravelsInRecordHeaders() async throws {
    try await TestBroker.run { _, client in
      try await client.admin.createTopic("t", partitions: 1)
      var context = ServiceContext.topLevel
      context[W3CTracer.Key.self] = Self.parent
      // No tracer: nothing is added, whatever the context says.
      let plain = try await client.producer()
      try await ServiceContext.withValue(context) { _ = try await plain.send(to: "t", value: [0]) }
      try await plain.close()
      try await withTracer(W3CTracer()) {
        let producer = try await client.producer()
        let topic = try await producer.topic("t")
        var own = RecordHeaders()
        try own.append(name: "kind", value: [9])
        try await ServiceContext.withValue(context) {
          try await topic.append(value: [1], headers: own)
          try await topic.append(value: [2])
          try await topic.sink().send(ProducerRecord(value: [3]))
          var byHand = RecordHeaders()
          byHand.inject(context)
          try await topic.append(value: [4], headers: own)
          #expect(byHand.count == 2)
        }
        try await topic.append(value: [5])
        try await producer.close()
        let found = try await readAll(client, "t")
        let both = ["traceparent", "tracestate"]
        #expect(
          found.map { $0.headers.map(\.name) } == [[], ["kind"] + both, both, both, ["kind"] + both, []])
        #expect(found[1].serviceContext[W3CTracer.Key.self] == Self.parent)
        #expect(found[5].serviceContext[W3CTracer.Key.self] == nil)
      }
    }
  }

  @Test func aSpanForEachSendAndItsConsumer() async throws {
    let tracer = InMemoryTracer()
    try await withTracer(tracer) {
      try await TestBroker.run { _, client in
        try await client.admin.createTopic("t", partitions: 1)
        let producer = try await client.producer()
        try await producer.send(to: "t", value: [1])
        try await producer.close()
        let record = try #require(try await readAll(client, "t").first)
        try await record.withSpan { _ in }
      }
    }
    let spans = tracer.finishedSpans
    #expect(spans.map(\.operationName) == ["send t", "process t"])
    #expect(spans.map(\.kind) == [.producer, .consumer])
    #expect(spans[0].traceID == spans[1].traceID && spans[1].parentSpanID == spans[0].spanID)
    #expect(spans[0].attributes["messaging.skein.offset"]?.toSpanAttribute() == .int64(0))
  }
}
