import CommitLog
import NIOCore
import RecordFormat
import SkeinCore
import Transport
import Wire

/// `skein.v1.Producer`.
struct ProducerService: Sendable {
  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "Publish":
      let service = self
      return UnaryHandler(call) { message, reply in
        service.publish(message, reply, principal)
      }
    case "PublishStream":
      return PublishStreamHandler(call: call, context: context, principal: principal)
    default: return nil
    }
  }

  private func publish(_ message: SharedBytes, _ reply: UnaryReply, _ principal: Principal) {
    do throws(Fault) {
      let request = try PublishRequest(decoding: message)
      let topic = try context.registry.topic(request.topic, of: principal.tenant)
      try AckLevel.check(request.acks, topic: topic)
      guard (1...context.limits.maxRecordsPerPublish).contains(request.records.count) else {
        throw Fault(
          .invalidRequest,
          "a Publish carries 1 to \(context.limits.maxRecordsPerPublish) records; this one has \(request.records.count)",
          violations: [
            .init(field: "records", description: "1 to \(context.limits.maxRecordsPerPublish) records")
          ])
      }
      let publish = UnaryPublish(
        request: request, tenant: principal.tenant, topic: topic, context: context, reply: reply)
      publish.start()
    } catch {
      reply.fail(error)
    }
  }
}

/// What an acknowledgement waits for.
enum AckLevel {
  /// R43: a request may ask for less than durable only where the topic allows it.
  static func check(_ acks: Acks, topic: Topic) throws(Fault) {
    let minimum = topic.settings.minimumAcks
    guard try strength(of: acks) >= minimum.strength else {
      throw Fault(
        .acksTooWeak,
        "acks \(acks.rawValue) is weaker than min.acks=\(minimum.rawValue) of topic \"\(topic.name)\"; ask for more, or change the topic",
        metadata: ["topic": topic.name, "min.acks": minimum.rawValue])
    }
  }

  /// - Throws: `INVALID_REQUEST` for a value that is not of the enum.
  static func strength(of acks: Acks) throws(Fault) -> Int {
    switch acks {
    case .none: return TopicSettings.MinimumAcks.none.strength
    case .leader: return TopicSettings.MinimumAcks.leader.strength
    case .unspecified, .all: return TopicSettings.MinimumAcks.all.strength
    default:
      throw Fault(
        .invalidRequest,
        "acks \(acks.rawValue) is not known; use 0 (default), 1 (none), 2 (leader) or 3 (all)",
        violations: [.init(field: "acks", description: "unknown value \(acks.rawValue)")])
    }
  }
}

extension TopicSettings.MinimumAcks {
  /// Rises with what the acknowledgement promises.
  var strength: Int {
    switch self {
    case .none: 0
    case .leader: 1
    case .all: 2
    }
  }
}
