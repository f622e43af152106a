import SkeinCore
import Transport
import Wire

/// The part of `skein.v1.Plugins` that is about topics: Diff, Bind, Rollback.
struct PartitionerService: Sendable {
  let context: BrokerContext

  /// Nil: not one of these.
  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "Diff": context.admin.unary(call, principal, diff)
    case "Bind":
      swap(call) { message throws(Fault) in
        let request = try BindPartitionerRequest(decoding: message)
        guard let binding = request.binding else { throw Self.noBinding }
        return Swap.Order(
          principal: principal, topic: request.topic, binding: binding, fence: request.fence,
          acceptReorder: request.acceptReorder, watchMilliseconds: request.watchMs,
          expectedRevision: request.expectedRevision)
      }
    case "Rollback":
      swap(call) { message throws(Fault) in
        let request = try RollbackPartitionerRequest(decoding: message)
        return Swap.Order(
          principal: principal, topic: request.topic, binding: nil, fence: request.fence,
          acceptReorder: request.acceptReorder, watchMilliseconds: request.watchMs)
      }
    default: nil
    }
  }

  /// Tells how the swap goes. The caller may go: before the commit that ends the swap, after it the broker goes on alone.
  private func swap(_ call: Call, _ order: @escaping (SharedBytes) throws(Fault) -> Swap.Order)
    -> any CallHandler
  {
    OperationStreamHandler<BindProgress>(
      call: call, context: context,
      drainMessage: "what was committed stays, and a watch goes on after the start"
    ) { [context] message, caller throws(Fault) in
      let listener = SwapListener(
        time: context.time, progress: { caller.tell($0) }, end: { caller.end($0) })
      let swap = Swap(context: context, order: try order(message), listener: listener)
      try context.admin.submit { await swap.run() }
      return { listener.leave() }
    }
  }

  private static let noBinding = Fault(
    .invalidRequest, "the request names no partitioner; fill in `binding`",
    violations: [.init(field: "binding", description: "missing")])

  @Sendable private func diff(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DiffPartitionerRequest(decoding: message)
    let topic = try context.registry.topic(request.topic, of: principal.tenant)
    guard let binding = request.binding else { throw Self.noBinding }
    guard request.sample <= UInt32(PartitionerDiff.maximumSample) else {
      throw Fault(
        .invalidRequest,
        "sample \(request.sample) is above \(PartitionerDiff.maximumSample) records",
        violations: [
          .init(field: "sample", description: "1 to \(PartitionerDiff.maximumSample), or 0 for 50,000")
        ])
    }
    var next = try Swap.generation(after: topic, binding)
    let loaded = try await Swap.load(&next, topic, context)
    let outcome = try await PartitionerDiff(
      context: context, topic: topic, current: context.side(of: topic),
      next: .init(generation: next, instance: loaded?.instance)
    ).run(sample: request.sample == 0 ? PartitionerDiff.standardSample : Int(request.sample))
    return DiffPartitionerResponse(
      sampled: outcome.sampled, moved: outcome.moved, before: outcome.before, after: outcome.after,
      nanosecondsPerRecord: outcome.nanosecondsPerRecord
    ).encoded()
  }
}
