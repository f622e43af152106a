import GroupCoordination
import NIOCore
import SkeinCore

/// Where a coordinator sends what it has to say to one stream of a member.
protocol MemberSink: AnyObject, Sendable {
  var eventLoop: any EventLoop { get }
  /// On `eventLoop`, in the coordinator's order, also relative to the answers of requests that were asked for that loop.
  func push(_ message: MemberMessage)
}

/// Who waits for the answer of one request, and on which loop.
struct GroupAnswer: Sendable {
  typealias Receive = @Sendable (Result<GroupReply, Fault>) -> Void
  let loop: any EventLoop
  let receive: Receive
}

/// Answers and messages that one turn of a coordinator led to, delivered with one hop to each loop, in order.
struct MemberOutbox {
  private enum Item: Sendable {
    case answer(GroupAnswer, Result<GroupReply, Fault>)
    case message(any MemberSink, MemberMessage)

    func deliver() {
      switch self {
      case .answer(let answer, let result): answer.receive(result)
      case .message(let sink, let message): sink.push(message)
      }
    }
  }

  private var deliveries: [ObjectIdentifier: (loop: any EventLoop, items: [Item])] = [:]

  var isEmpty: Bool { deliveries.isEmpty }

  mutating func add(_ answer: GroupAnswer, _ result: Result<GroupReply, Fault>) {
    add(.answer(answer, result), for: answer.loop)
  }

  mutating func add(_ message: MemberMessage, to sink: any MemberSink) {
    add(.message(sink, message), for: sink.eventLoop)
  }

  private mutating func add(_ item: Item, for loop: any EventLoop) {
    deliveries[ObjectIdentifier(loop), default: (loop, [])].items.append(item)
  }

  /// Takes everything out, to be delivered: those of `current` by the call that is returned, because what they
  /// lead to may add to this outbox again.
  mutating func take(on current: any EventLoop) -> () -> Void {
    let all = deliveries
    deliveries.removeAll(keepingCapacity: true)
    var here: [Item] = []
    for delivery in all.values {
      let items = delivery.items
      if delivery.loop === current {
        here = items
      } else {
        delivery.loop.execute { for item in items { item.deliver() } }
      }
    }
    return { for item in here { item.deliver() } }
  }
}
