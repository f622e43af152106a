import SkeinCore
import Synchronization
import Wire

/// Where records go by a partitioner that only the broker has: asked in batches, answered in order.
extension PublishStreamHandler {
  /// Where the next keyless record of a topic with `round-robin` goes, when somebody asks.
  private static let turn = Atomic<UInt64>(0)

  func assign(_ request: AssignRequest, messageBytes: Int) {
    let number = assigns.ask(messageBytes: messageBytes)
    do throws(Fault) {
      let topic = try topic(named: request.topic)
      guard request.generation == topic.generation else {
        throw Fault(
          .partitionerChanged,
          "the question names partitioner generation \(request.generation), topic \"\(topic.name)\" is at \(topic.generation); refresh the topic and ask again",
          metadata: ["topic": topic.name, "generation": String(topic.generation)])
      }
      let columns = try PlacementColumns(
        request, headers: topic.current.headers.count, needsTimestamps: topic.current.needsTimestamps)
      let id = request.requestID
      if let builtIn = topic.builtIn {
        return answer(number, id, topic.generation, .success(place(columns, builtIn, topic.partitions)))
      }
      guard let placer = context.partitioning.placer(of: topic) else {
        throw Fault(
          .partitionerUnavailable,
          "the partitioner of topic \"\(topic.name)\" is being replaced; ask again after 10 ms",
          metadata: ["topic": topic.name], retryAfterMilliseconds: 10)
      }
      placer.place(columns, on: eventLoop) { result in
        self.answer(number, id, topic.generation, result)
      }
    } catch {
      answer(number, request.requestID, 0, .failure(error))
    }
  }

  /// A built-in of which the client knows nothing.
  private func place(_ columns: PlacementColumns, _ builtIn: BuiltInPartitioner, _ partitions: Int32)
    -> [Int32]
  {
    guard builtIn.turnsPerRecord else { return columns.placed(by: builtIn, partitions: partitions) }
    let begin = Self.turn.wrappingAdd(UInt64(columns.count), ordering: .relaxed).oldValue
    return (0..<UInt64(columns.count)).map { Int32((begin &+ $0) % UInt64(partitions)) }
  }

  private func answer(_ number: Int, _ id: UInt64, _ generation: UInt32, _ result: Result<[Int32], Fault>) {
    var answer = AssignAnswer(requestID: id, generation: generation)
    switch result {
    case .success(let partitions): answer.partitions = partitions
    case .failure(let fault): answer.error = fault.status
    }
    context.partitioning.counts.assigns.add(1)
    assigns.answer(number, answer)
    flushAssigned()
  }
}
