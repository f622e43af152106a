import CommitLog
import NIOCore
import SkeinCore
import Transport
import Wire

/// `skein.v1.Consumer`.
struct ConsumerService: Sendable {
  let context: BrokerContext

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "Fetch":
      let context = context
      return UnaryHandler(call) { message, reply in
        do throws(Fault) {
          let request = try FetchRequest(decoding: message)
          let fetch = try FetchOperation(
            request: request, principal: principal, context: context, reply: reply)
          fetch.start()
        } catch {
          reply.fail(error)
        }
      }
    case "Subscribe":
      return SubscribeHandler(call: call, context: context, principal: principal)
    case "Read":
      return ReadStreamHandler(call: call, context: context, principal: principal)
    default: return nil
    }
  }
}

/// A partition that a client wants to read, resolved, with where it stands.
struct ReadPosition: Sendable {
  let topicName: String
  let key: TopicPartition
  var offset: Offset
  var lastEpoch: LeaderEpoch?

  /// - Throws: `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`, `INVALID_REQUEST`.
  init(_ wanted: FetchPartition, principal: Principal, registry: TopicRegistry) throws(Fault) {
    let topic = try registry.topic(wanted.topic, of: principal.tenant)
    try TopicRegistry.check(wanted.partition, of: topic)
    guard wanted.offset >= 0, wanted.offset < Offset.limit.rawValue, wanted.lastEpoch >= 0 else {
      throw Fault(
        .invalidRequest,
        "offset \(wanted.offset) and last_epoch \(wanted.lastEpoch) must not be negative; Topics/ListOffsets finds the beginning and the end",
        violations: [.init(field: "offset", description: "0 to 2^62 - 1")])
    }
    topicName = topic.name
    key = TopicPartition(topic: topic.id, partition: wanted.partition)
    offset = Offset(wanted.offset)
    lastEpoch = wanted.lastEpoch == 0 ? nil : LeaderEpoch(wanted.lastEpoch)
  }
}
