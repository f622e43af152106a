import GroupCoordination
import Logging
import OffsetStorage
import SkeinCore

/// The offset stores of this broker but `log`: opened when somebody was sent there, tried again while they do not answer.
///
/// Threading: any. `run` once; `close` after everybody has stopped asking.
final class OffsetStores: Sendable {
  /// In the order of the configuration, `sqlite` first.
  let all: [WatchedStore]
  private let byName: [String: WatchedStore]
  private let down: AsyncStream<WatchedStore>
  private let wentDown: AsyncStream<WatchedStore>.Continuation
  private let logger: Logger

  /// How one of them is opened.
  struct Source: Sendable {
    var name: String
    /// "built in", or ID@VERSION.
    var origin: String
    var open: @Sendable () async throws(Fault) -> any OffsetStore
  }

  init(_ sources: [Source], time: any TimeSource, logger: Logger) {
    let (stream, continuation) = AsyncStream.makeStream(
      of: WatchedStore.self, bufferingPolicy: .bufferingNewest(1_024))
    down = stream
    wentDown = continuation
    self.logger = logger
    all = sources.map { source in
      WatchedStore(
        name: source.name, origin: source.origin, time: time, open: source.open,
        wentDown: { continuation.yield($0) })
    }
    byName = Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
  }

  var names: [String] { [GroupOffsets.log] + all.map(\.name) }

  /// - Throws: `OFFSET_STORE_NOT_FOUND`.
  func store(_ name: String) throws(Fault) -> WatchedStore {
    guard let store = byName[name] else { throw OffsetStoreSetting.notFound(name, names) }
    return store
  }

  /// Whether there is one of that name; also `log`.
  func check(_ name: String) throws(Fault) {
    if name != GroupOffsets.log { _ = try store(name) }
  }

  /// Opens those that somebody was sent to. One that does not open is tried again by `run`.
  func start(_ used: Set<String>) async {
    for store in all where used.contains(store.name) { await store.start() }
  }

  /// Tries again whatever went down, until `close`.
  func run() async {
    await withDiscardingTaskGroup { group in
      for await store in down {
        group.addTask { [logger] in
          let problem = store.condition.problem
          logger.warning(
            "an offset store does not answer; commits to it are refused until it does",
            metadata: ["store": "\(store.name)", "problem": "\(problem?.message.displayable ?? "")"])
          await store.recover()
          if store.isAvailable {
            logger.info("an offset store answers again", metadata: ["store": "\(store.name)"])
          }
        }
      }
    }
  }

  func close() async {
    wentDown.finish()
    for store in all { await store.close() }
  }
}
