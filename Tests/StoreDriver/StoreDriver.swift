import ArgumentParser
import Dispatch
import Foundation
import GroupCoordination
import Logging
import NIOCore
import OffsetStorage
import SkeinCore
import Synchronization

/// Tests/stores runs it against real servers.
@main
struct StoreDriver: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Holds an offset store to its promises: a plug-in's in a child of its own, or the embedded one.",
    subcommands: [Suite.self, Commit.self, Verify.self, Bench.self])

  /// Prints a line at once: who reads the output waits for it.
  static func say(_ text: String) {
    // Not print and fflush(nil), which waits for the lock of the standard input while `commit` reads it.
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
  }

  static let topic = TopicID(high: 0x5157_0000_0000_0001, low: 1)

  static func offset(_ partition: Int, _ offset: Int64, epoch: Int32) -> StoredOffset {
    StoredOffset(
      partition: TopicPartition(topic: topic, partition: Int32(clamping: partition)),
      committed: CommittedOffset(offset: Offset(offset), leaderEpoch: 1, metadata: "driver", committedAt: 1),
      memberEpoch: epoch)
  }

  /// All cases, one JSON line each.
  struct Suite: AsyncParsableCommand {
    @OptionGroup var place: StorePlace
    @Option(help: "Only cases whose names begin so.") var only: String?

    func run() async throws {
      let stores = try await place.opened()
      let suite = OffsetStoreSuite(
        .init { try await stores.open() }, run: "suite-\(UInt32.random(in: 0 ... .max))")
      let outcomes = await suite.run(only) { outcome in
        let line: [String: Any] = [
          "case": outcome.name, "ok": outcome.broken == nil, "milliseconds": outcome.milliseconds,
          "broken": outcome.broken ?? "", "promise": outcome.promise,
        ]
        let data = try? JSONSerialization.data(
          withJSONObject: line, options: [.sortedKeys, .withoutEscapingSlashes])
        StoreDriver.say(String(decoding: data ?? Data(), as: UTF8.self))
      }
      await stores.close()
      if outcomes.isEmpty || outcomes.contains(where: { $0.broken != nil }) { throw ExitCode(1) }
    }
  }

  /// Commits rising offsets, one partition after another, until the standard input ends. A commit that failed for want of
  /// the store is repeated with the same offset.
  ///
  /// Prints `acked PARTITION OFFSET`, `failed REASON MILLISECONDS`.
  struct Commit: AsyncParsableCommand {
    @OptionGroup var place: StorePlace
    @Option var tenant = "driver"
    @Option var group = "driver"
    @Option var partitions = 4
    @Option(help: "Of the member that commits.") var epoch: Int32 = 1
    @Option(help: "The first offset.") var from: Int64 = 1
    @Option(help: "Milliseconds between commits.") var pause: Int64 = 2

    func run() async throws {
      let stores = try await place.opened()
      let store = try await stores.open()
      let isOver = StopSign()
      Thread.detachNewThread {
        while readLine() != nil {}
        isOver.raise()
      }
      StoreDriver.say("ready")
      let key = GroupKey(tenant: tenant, name: group)
      var offset = from
      var partition = 0
      while !isOver.isRaised {
        let began = DispatchTime.now().uptimeNanoseconds
        do throws(Fault) {
          try await store.commit(
            key, memberEpoch: epoch, [StoreDriver.offset(partition, offset, epoch: epoch)])
          StoreDriver.say("acked \(partition) \(offset)")
          partition += 1
          if partition == max(partitions, 1) {
            partition = 0
            offset += 1
          }
        } catch {
          let took = (DispatchTime.now().uptimeNanoseconds - began) / 1_000_000
          StoreDriver.say("failed \(error.reason.name) \(took) \(error.message)")
          try? await Task.sleep(for: .milliseconds(50))
        }
        if pause > 0 { try? await Task.sleep(for: .milliseconds(pause)) }
      }
      StoreDriver.say("ended")
      await store.close()
      await stores.close()
    }
  }

  /// Compares what is stored with the output of `commit`: nothing acknowledged may be missing, nothing may be beyond what
  /// was tried.
  struct Verify: AsyncParsableCommand {
    @OptionGroup var place: StorePlace
    @Option var tenant = "driver"
    @Option var group = "driver"
    @Option(help: "A file with the output of `commit`.") var acked: String

    func run() async throws {
      let text = try String(contentsOfFile: acked, encoding: .utf8)
      var highest: [Int32: Int64] = [:]
      for line in text.split(separator: "\n") where line.hasPrefix("acked ") {
        let words = line.split(separator: " ")
        guard words.count == 3, let partition = Int32(words[1]), let offset = Int64(words[2]) else {
          continue
        }
        highest[partition] = max(highest[partition] ?? 0, offset)
      }
      let stores = try await place.opened()
      let store = try await stores.open()
      let found = try await store.fetch(GroupKey(tenant: tenant, name: group), nil)
      var lost: [String] = []
      for (partition, offset) in highest.sorted(by: { $0.key < $1.key }) {
        let stored = found.first { $0.partition.partition == partition }?.committed.offset.rawValue ?? -1
        // One more may be stored than was acknowledged: its answer was lost.
        if stored < offset || stored > offset + 1 {
          lost.append("\(partition): acked \(offset), stored \(stored)")
        }
      }
      await store.close()
      await stores.close()
      StoreDriver.say(
        lost.isEmpty ? "kept \(highest.count) partitions" : "LOST \(lost.joined(separator: "; "))")
      if !lost.isEmpty || highest.isEmpty { throw ExitCode(1) }
    }
  }

  /// Commits of one offset from many tasks at once, each waiting for its answer.
  struct Bench: AsyncParsableCommand {
    @OptionGroup var place: StorePlace
    @Option(help: "Commits that are under way at once.") var tasks = 64
    @Option var seconds = 5.0

    func run() async throws {
      let stores = try await place.opened()
      let store = try await stores.open()
      let tasks = tasks
      let limit = Duration.seconds(seconds)
      let clock = ContinuousClock()
      let began = clock.now
      let counts = await withTaskGroup(of: (Int, [Duration]).self) { group in
        for task in 0..<tasks {
          group.addTask {
            var done = 0
            var took: [Duration] = []
            let key = GroupKey(tenant: "bench", name: "g\(task % 16)")
            while began.duration(to: clock.now) < limit {
              let start = clock.now
              do throws(Fault) {
                try await store.commit(
                  key, memberEpoch: 1, [StoreDriver.offset(task, Int64(done) + 1, epoch: 1)])
                done += 1
                if took.count < 20_000 { took.append(start.duration(to: clock.now)) }
              } catch {
                StoreDriver.say("failed \(error)")
                return (done, took)
              }
            }
            return (done, took)
          }
        }
        return await group.reduce(into: (0, [Duration]())) {
          $0.0 += $1.0
          $0.1 += $1.1
        }
      }
      let elapsed = began.duration(to: clock.now)
      let sorted = counts.1.sorted()
      let rate =
        Double(counts.0)
        / (Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18)
      let p50 = sorted.isEmpty ? .zero : sorted[sorted.count / 2]
      let p99 = sorted.isEmpty ? .zero : sorted[sorted.count * 99 / 100]
      StoreDriver.say("\(tasks) at once: \(Int(rate)) commits/s, p50 \(p50), p99 \(p99)")
      for group in 0..<16 { try await store.remove(GroupKey(tenant: "bench", name: "g\(group)"), nil) }
      await store.close()
      await stores.close()
    }
  }
}

final class StopSign: Sendable {
  private let raised = Mutex(false)
  var isRaised: Bool { raised.withLock { $0 } }
  func raise() { raised.withLock { $0 = true } }
}
