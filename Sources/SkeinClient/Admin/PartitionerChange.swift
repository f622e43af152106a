import Wire

/// A topic gets another partitioner while it is in use: the steps, as they are done.
///
/// ```swift
/// var options = PartitionerChangeOptions()
/// options.fence = true
/// for try await step in client.admin.setPartitioner("orders", to: PartitionerBinding("com.acme.sticky@1.2.0"), options) {
///   print(step.phase, step.generation)
/// }
/// ```
/// Iterating asks the broker, once: it is never repeated after a lost connection. After `committed` the change is
/// durable and the broker goes on alone, so the iteration may be left; before, leaving it changes nothing. It ends
/// after `done` or `rolledBack`.
/// - Note: errors while iterating: TOPIC_NOT_FOUND, PLUGIN_NOT_FOUND, PLUGIN_WRONG_KIND, PLUGIN_CONFIG_INVALID,
///   PLUGIN_DISABLED, PLUGIN_QUARANTINED, REORDER_NOT_ACCEPTED, SWAP_IN_PROGRESS, CONFLICT (nothing was changed);
///   CONNECTION_LOST with `outcome == .unknown`: look at the topic's generations.
public struct PartitionerChange: AsyncSequence, Sendable {
  public typealias Element = PartitionerProgress
  private let client: Client
  private let path: String
  private let request: [UInt8]

  init(_ client: Client, path: String, request: [UInt8]) {
    self.client = client
    self.path = path
    self.request = request
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let session: StepSession<PartitionerProgress>
    init(_ session: StepSession<PartitionerProgress>) { self.session = session }
    /// - Throws: `SkeinError`.
    public mutating func next() async throws -> PartitionerProgress? { try await session.stream.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(StepSession(client, path, request)) }
}

extension PartitionerProgress: ProgressStep {
  typealias Message = BindProgress
  /// Each is told: nine at most.
  func replaces(_ other: PartitionerProgress) -> Bool { false }
}
