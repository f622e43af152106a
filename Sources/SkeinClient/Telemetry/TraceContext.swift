public import RecordFormat
import SkeinCore
public import Tracing

/// Trace context travels in record headers, under the names that the application's tracer uses (`traceparent`
/// and `tracestate` for W3C Trace Context). Nothing is added, and nothing is asked per record, unless a tracer
/// was bootstrapped before the producer was opened.
extension RecordHeaders {
  /// Adds the context as the tracer writes it; for `tryAppend`, which does not do so by itself. Without a tracer
  /// nothing is added.
  public mutating func inject(_ context: ServiceContext) {
    InstrumentationSystem.instrument.inject(context, into: &self, using: HeaderInjector())
  }

  /// The headers with the current task's context, if it has one.
  static func tracing(_ headers: RecordHeaders?) -> RecordHeaders? {
    guard let context = ServiceContext.current else { return headers }
    var all = headers ?? RecordHeaders()
    all.inject(context)
    return all
  }
}

extension ConsumedRecord {
  /// The producer's trace context, for the consumer's span; the current task's where the record brings none.
  public var serviceContext: ServiceContext {
    var context = ServiceContext.current ?? .topLevel
    InstrumentationSystem.instrument.extract(headers, into: &context, using: HeaderExtractor())
    return context
  }

  /// Runs `body` in a span of kind consumer that continues the producer's trace. Without a tracer it only runs it.
  public nonisolated(nonsending) func withSpan<Result>(
    _ name: String? = nil, _ body: nonisolated(nonsending) (any Span) async throws -> Result
  ) async throws -> Result {
    try await Tracing.withSpan(name ?? "process \(topic)", context: serviceContext, ofKind: .consumer) {
      span in
      span.attributes["messaging.system"] = "skein"
      span.attributes["messaging.operation.type"] = "process"
      span.attributes["messaging.destination.name"] = topic
      span.attributes["messaging.destination.partition.id"] = String(partition)
      span.attributes["messaging.skein.offset"] = offset
      return try await body(span)
    }
  }
}

extension RecordView {
  /// As `ConsumedRecord.serviceContext`. It copies the headers: ask for it only when there is a tracer.
  public var serviceContext: ServiceContext {
    var context = ServiceContext.current ?? .topLevel
    let copies = headers.map { ConsumedRecord.Header(name: $0.nameText, value: $0.value.map(Array.init)) }
    InstrumentationSystem.instrument.extract(copies, into: &context, using: HeaderExtractor())
    return context
  }
}

extension ProducerTopic {
  /// Sends in a span of kind producer, whose context goes with the record.
  func traced(
    _ headers: RecordHeaders?, _ body: (RecordHeaders) async throws(SkeinError) -> RecordMetadata
  ) async throws(SkeinError) -> RecordMetadata {
    do {
      return try await Tracing.withSpan("send \(name)", ofKind: .producer) { span in
        span.attributes["messaging.system"] = "skein"
        span.attributes["messaging.operation.type"] = "send"
        span.attributes["messaging.destination.name"] = name
        var all = headers ?? RecordHeaders()
        all.inject(span.context)
        let place = try await body(all)
        span.attributes["messaging.destination.partition.id"] = String(place.partition)
        span.attributes["messaging.skein.offset"] = place.offset ?? -1
        return place
      }
    } catch { throw SkeinError(wrapping: error) }
  }
}

private struct HeaderInjector: Injector {
  func inject(_ value: String, forKey key: String, into carrier: inout RecordHeaders) {
    // A tracer's own names are text without NUL; one that is not is left out rather than failing a record.
    try? carrier.append(name: key, value: Array(value.utf8))
  }
}

private struct HeaderExtractor: Extractor {
  func extract(key: String, from carrier: [ConsumedRecord.Header]) -> String? {
    // The last one counts: it is the nearest hop's.
    carrier.last { $0.name == key }?.value.map { String(decoding: $0, as: UTF8.self) }
  }
}
