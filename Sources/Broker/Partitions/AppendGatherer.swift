import NIOCore
import SkeinCore

/// Appends that calls on one event loop made during one tick, handed to each shard together (style
/// habit 14): what came in one read of a socket meets one group commit, instead of the first of it
/// starting a sync that the others just miss.
///
/// `@unchecked Sendable`: state is confined to `loop`.
final class AppendGatherer: @unchecked Sendable {
  private let loop: any EventLoop
  private let shards: [PartitionShard]
  private var gathered: [[(TopicPartition, AppendRequest)]]
  private var isScheduled = false

  init(loop: any EventLoop, shards: [PartitionShard]) {
    self.loop = loop
    self.shards = shards
    self.gathered = Array(repeating: [], count: shards.count)
  }

  /// On `loop`; handed over at the end of this tick, in the order of the calls.
  func add(_ request: AppendRequest, to key: TopicPartition, shard index: Int) {
    gathered[index].append((key, request))
    guard !isScheduled else { return }
    isScheduled = true
    loop.execute { self.handOver() }
  }

  /// Other loops first: they need a wake-up, and their appends then meet the group commit that this
  /// loop's own start.
  private func handOver() {
    isScheduled = false
    for index in gathered.indices where shards[index].loop !== loop { handOver(to: index) }
    for index in gathered.indices where shards[index].loop === loop { handOver(to: index) }
  }

  private func handOver(to index: Int) {
    guard !gathered[index].isEmpty else { return }
    let requests = gathered[index]
    gathered[index] = []
    shards[index].onLoop { $0.append(requests) }
  }
}
