import Wire

/// A group's offsets go to another store: copied, read back and compared, switched in one step, removed from the old.
///
/// ```swift
/// for try await progress in client.admin.moveOffsets(group: "billing", to: "postgres") {
///   print(progress.step, progress.done, progress.total)
/// }
/// ```
/// Iterating asks the broker, once. The group must have no members; until it is done, joins and commits are refused with
/// OFFSETS_MOVING. After a failure the group is where it was, or where it goes: the same call goes on. It ends after `done`.
/// - Note: errors while iterating: GROUP_HAS_MEMBERS, GROUP_NOT_FOUND, OFFSET_STORE_NOT_FOUND, OFFSET_STORE_UNAVAILABLE,
///   CONFLICT.
public struct OffsetMove: AsyncSequence, Sendable {
  public typealias Element = OffsetMoveProgress
  private let client: Client
  private let request: [UInt8]

  init(_ client: Client, request: [UInt8]) {
    self.client = client
    self.request = request
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let session: StepSession<OffsetMoveProgress>
    init(_ session: StepSession<OffsetMoveProgress>) { self.session = session }
    /// - Throws: `SkeinError`.
    public mutating func next() async throws -> OffsetMoveProgress? { try await session.stream.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator {
    AsyncIterator(StepSession(client, GroupsMethod.moveOffsets, request))
  }
}

/// How far a move is.
public struct OffsetMoveProgress: Sendable, Hashable {
  public enum Step: String, Sendable, Hashable {
    case copying, comparing
    /// The group's offsets are those of the new store.
    case switched
    case done
    /// One that this version of the SDK does not know.
    case other
  }

  public var step: Step
  public var from: String
  public var to: String
  /// Offsets so far, of `total`.
  public var done: Int64
  public var total: Int64
}

extension OffsetMoveProgress: ProgressStep {
  typealias Message = MoveOffsetsProgress
  func replaces(_ other: OffsetMoveProgress) -> Bool { step == other.step }
}
