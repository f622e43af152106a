import CommitLog
import NIOCore
import RecordFormat
import SkeinCore

/// One batch on its way to its partition. Built on the connection's loop, used on the partition's.
struct AppendRequest: Sendable {
  let batch: SharedBytes
  let header: BatchHeader
  /// The generation that the sender used, 0 = no check; and the topic's own.
  let generation: UInt32
  let currentGeneration: UInt32
  /// False for `ACKS_NONE`: answered as soon as it is appended.
  let waitsForCommit: Bool
  /// Monotonic nanoseconds at which the message was complete.
  let receivedAt: Int64
  let receiver: any AppendReceiver
  /// The receiver's own number for this batch.
  let tag: UInt64
}

/// What became of an append.
enum AppendResult: Sendable {
  /// `base` is nil for a duplicate older than the window (P5). `synced` in nanoseconds.
  case committed(base: Offset?, duplicate: Bool, synced: Int64)
  case refused(Fault)
}

struct AppendAnswer: Sendable {
  let tag: UInt64
  let result: AppendResult
  /// Nanoseconds from receipt to append.
  let queued: Int64
}

/// Who gets the answers of appends, on its own loop, in batches.
protocol AppendReceiver: AnyObject, Sendable {
  var eventLoop: any EventLoop { get }
  /// On `eventLoop`. Answers of one partition come in the order of their appends.
  func received(_ answer: AppendAnswer)
  /// On `eventLoop`, after the last `received` of one delivery: send what was gathered.
  func flushAnswers()
}

/// Answers gathered during one turn of a shard, delivered with one hop to each other loop.
struct ShardOutbox {
  private var deliveries: [ObjectIdentifier: (loop: any EventLoop, items: [Item])] = [:]

  private struct Item: Sendable {
    let receiver: any AppendReceiver
    let answer: AppendAnswer
  }

  mutating func add(_ request: AppendRequest, _ result: AppendResult, _ appendedAt: Int64) {
    let loop = request.receiver.eventLoop
    let item = Item(
      receiver: request.receiver,
      answer: AppendAnswer(
        tag: request.tag, result: result, queued: max(0, appendedAt - request.receivedAt)))
    deliveries[ObjectIdentifier(loop), default: (loop, [])].items.append(item)
  }

  /// Delivers everything; on the shard's loop, at the end of a turn.
  mutating func flush(on current: any EventLoop) {
    guard !deliveries.isEmpty else { return }
    let all = deliveries
    deliveries.removeAll(keepingCapacity: true)
    for (_, delivery) in all {
      let items = delivery.items
      if delivery.loop === current {
        Self.deliver(items)
      } else {
        delivery.loop.execute { Self.deliver(items) }
      }
    }
  }

  private static func deliver(_ items: [Item]) {
    var last: (any AppendReceiver)?
    for item in items {
      if let previous = last, previous !== item.receiver { previous.flushAnswers() }
      item.receiver.received(item.answer)
      last = item.receiver
    }
    last?.flushAnswers()
  }
}
