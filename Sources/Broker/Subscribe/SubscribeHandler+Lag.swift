import CommitLog
import NIOCore
import NIOPosix
import SkeinCore
import Transport
import Wire

extension SubscribeHandler {
  /// Partitions in one heartbeat, at most; those of larger members take turns.
  static let lagsPerHeartbeat = 1_000

  /// The answer to a heartbeat, or the sign of life of a stream that was silent: with how far the member's partitions
  /// are behind. The time of a lag may have to be read from a disk; then it is waited for, but not twice at once.
  func sendHeartbeat(epoch: Int32) {
    var items: [GroupLag.Item] = []
    var searches: [(index: Int, search: AppendTimeSearch, start: Offset)] = []
    let now = context.time.wallMilliseconds
    let lag = GroupLag(context: context)
    // Who does not take its answers gets short ones.
    for partition in call.isWritable ? nextLags() : [] {
      var item = GroupLag.Item(
        key: partition.key,
        lag: PartitionLag(
          topic: partition.topicName, partition: partition.key.partition,
          committedOffset: partition.committed?.rawValue ?? -1))
      do throws(Fault) {
        if let (search, start) = try lag.fill(&item, partition.committed, principal.tenant, now) {
          searches.append((items.count, search, start))
        }
        items.append(item)
      } catch {
        continue  // its reader is told, if there is one
      }
    }
    guard !searches.isEmpty, !isLagSought else { return send(items, epoch: epoch) }
    isLagSought = true
    let (directory, answer, wanted) = (context.workers.directory, items, searches)
    context.workers.readPool.submit { state in
      let times = state == .active ? wanted.map { directory.find($0.search) } : []
      self.eventLoop.execute {
        self.isLagSought = false
        var answer = answer
        for (search, time) in zip(wanted, times) {
          guard let time else { continue }
          answer[search.index].lag.milliseconds = max(1, now - time)
          self.context.groups.appendTimes[answer[search.index].key, search.start] = time
        }
        self.send(answer, epoch: epoch)
      }
    }
  }

  private func send(_ items: [GroupLag.Item], epoch: Int32) {
    send(
      SubscribeResponse(
        heartbeat: BrokerHeartbeat(
          sentMs: context.time.wallMilliseconds, epoch: epoch, lag: items.map(\.lag))))
  }

  /// Those of which it is known where the group stands.
  private func nextLags() -> [MemberPartition] {
    let known = partitions.values.filter { $0.acks != nil && !$0.isRevoking }
    guard known.count > Self.lagsPerHeartbeat else { return known }
    let sorted = known.sorted { $0.key < $1.key }
    let from = lagTurn % sorted.count
    lagTurn = from + Self.lagsPerHeartbeat
    return Array((sorted[from...] + sorted[..<from]).prefix(Self.lagsPerHeartbeat))
  }
}
