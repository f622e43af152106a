import GroupCoordination
import SkeinCore
import Synchronization

/// Several callers at once, and much of it.
extension OffsetStoreSuite {
  static let raceCases: [Case] = [
    Case("race.fence", "Of two members that race, the older one is out once the newer one has committed.") {
      scene in
      let group = scene.group()
      // Set when a commit of the newer member has returned; what the older one begins after it must be refused.
      let race = RaceState()
      let store = scene.store
      let broken = await withTaskGroup(of: String?.self) { tasks in
        for epoch in [5, 6] as [Int32] {
          tasks.addTask {
            for offset in Int64(1)...60 {
              let wasFenced = race.isFenced.load(ordering: .sequentiallyConsistent)
              do throws(Fault) {
                try await store.commit(
                  group, memberEpoch: epoch, [StoreScene.offset(0, offset, epoch: epoch)])
                if epoch == 6 { race.isFenced.store(true, ordering: .sequentiallyConsistent) }
                if epoch == 5, wasFenced {
                  return "a commit of epoch 5 was taken after one of epoch 6 had returned"
                }
              } catch {
                if error.reason != .conflict { return "\(error)" }
                if epoch == 6 { return "a commit of the newest epoch was refused: \(error)" }
              }
            }
            return nil
          }
        }
        return await tasks.reduce(into: [String]()) { if let broken = $1 { $0.append(broken) } }
      }
      try scene.check(broken.isEmpty, broken.joined(separator: "; "))
      try await scene.expect(group, [0: 60], epoch: 6, "after the race")
    },
    Case("race.back", "However commits of one epoch overlap, what was acknowledged never goes back.") {
      scene in
      let group = scene.group()
      let store = scene.store
      let race = RaceState()
      let broken = await withTaskGroup(of: String?.self) { tasks in
        for writer in Int64(0)..<6 {
          tasks.addTask {
            for round in Int64(0)..<20 {
              let offset = round * 6 + writer + 1
              do throws(Fault) {
                try await store.commit(group, memberEpoch: 2, [StoreScene.offset(0, offset, epoch: 2)])
                race.highest.withLock { $0 = max($0, offset) }
              } catch {
                if error.reason != .conflict { return "\(error)" }
              }
              let known = race.highest.withLock { $0 }
              do throws(Fault) {
                let seen = try await store.fetch(group, nil).first?.committed.offset.rawValue ?? 0
                if seen < known { return "\(known) was acknowledged, and then \(seen) was read" }
              } catch {
                return "\(error)"
              }
            }
            return nil
          }
        }
        return await tasks.reduce(into: [String]()) { if let broken = $1 { $0.append(broken) } }
      }
      try scene.check(broken.isEmpty, broken.joined(separator: "; "))
      try await scene.expect(group, [0: race.highest.withLock { $0 }], epoch: 2, "after the race")
    },
    Case("race.whole", "A fetch never sees half of a commit.") { scene in
      let group = scene.group()
      let store = scene.store
      let race = RaceState()
      let broken = await withTaskGroup(of: String?.self) { tasks in
        for epoch in [3, 4] as [Int32] {
          tasks.addTask {
            defer { race.writers.subtract(1, ordering: .sequentiallyConsistent) }
            for offset in Int64(1)...40 {
              do throws(Fault) {
                try await store.commit(
                  group, memberEpoch: epoch, (0..<4).map { StoreScene.offset($0, offset, epoch: epoch) })
              } catch {
                if error.reason != .conflict { return "\(error)" }
              }
            }
            return nil
          }
        }
        for _ in 0..<2 {
          tasks.addTask {
            while race.writers.load(ordering: .sequentiallyConsistent) > 0 {
              do throws(Fault) {
                let seen = Set(
                  try await store.fetch(group, nil).map {
                    "\($0.committed.offset) of epoch \($0.memberEpoch)"
                  })
                if seen.count > 1 { return "one fetch saw \(seen.sorted())" }
              } catch {
                return "\(error)"
              }
              // A store that never waits would not let the writers come to their turn.
              await Task.yield()
            }
            return nil
          }
        }
        return await tasks.reduce(into: [String]()) { if let broken = $1 { $0.append(broken) } }
      }
      try scene.check(broken.isEmpty, broken.joined(separator: "; "))
    },
    Case("race.apart", "Commits of many groups and partitions at once are all stored.") { scene in
      let store = scene.store
      let tenant = scene.tenant
      let broken = await withTaskGroup(of: String?.self) { tasks in
        for writer in Int32(0)..<24 {
          tasks.addTask {
            let group = GroupKey(tenant: tenant, name: "g\(writer / 6)")
            for offset in Int64(1)...10 {
              do throws(Fault) {
                try await store.commit(
                  group, memberEpoch: 1, [StoreScene.offset(writer % 6, offset, epoch: 1)])
              } catch {
                return "\(error)"
              }
            }
            return nil
          }
        }
        return await tasks.reduce(into: [String]()) { if let broken = $1 { $0.append(broken) } }
      }
      try scene.check(broken.isEmpty, broken.joined(separator: "; "))
      for group in 0..<4 {
        try await scene.expect(
          scene.group("g\(group)"), [0: 10, 1: 10, 2: 10, 3: 10, 4: 10, 5: 10], epoch: 1,
          "after commits at once")
      }
    },
  ]

  static let sizeCases: [Case] = [
    Case("size.extremes", "The largest and smallest values come back as they were.") { scene in
      var large = StoreScene.offset(.max, (1 << 62) - 1, epoch: .max)
      large.committed.leaderEpoch = .max
      large.committed.committedAt = 253_402_300_799_999
      var small = StoreScene.offset(0, 0, epoch: .max)
      small.committed.leaderEpoch = -1
      small.committed.committedAt = 0
      try await scene.store.commit(scene.group(), memberEpoch: .max, [large, small])
      let found = try await scene.store.fetch(scene.group(), nil).sorted { $0.partition < $1.partition }
      try scene.check(found == [small, large], "\(found)")
      try await scene.refused(scene.group(), epoch: .max - 1, [0: 5], "a commit of the last epoch but one")
    },
    Case(
      "size.many", "10,000 offsets of one commit are all there, in a fetch and in a scan, and go together."
    ) { scene in
      let group = scene.group()
      let offsets = (Int32(0)..<10_000).map {
        StoreScene.offset($0, Int64($0) + 1, epoch: 2, metadata: "of \($0)")
      }
      try await scene.store.commit(group, memberEpoch: 2, offsets)
      let found = try await scene.store.fetch(group, nil).sorted { $0.partition < $1.partition }
      try scene.check(found == offsets, "fetch gives \(found.count), the same: \(found == offsets)")
      let some = (0..<500).map { StoreScene.partition($0 * 20) }
      try scene.check(try await scene.store.fetch(group, some).count == 500, "500 of them are not all there")
      let scanned = try await scene.scan(scene.tenant, limit: 1_000).flatMap(\.offsets).count
      try scene.check(scanned == 10_000, "a scan gives \(scanned)")
      var next = offsets
      for index in next.indices { next[index].committed.offset = Offset(Int64(index) + 2) }
      next[9_999].committed.offset = Offset(1)
      do throws(Fault) {
        try await scene.store.commit(group, memberEpoch: 2, next)
        throw Fault(.internalError, "a commit was taken although its last offset goes back")
      } catch {
        try scene.check(error.reason == .conflict, "\(error)")
      }
      try scene.check(
        try await scene.store.fetch(group, nil).sorted { $0.partition < $1.partition } == offsets,
        "a refused commit of 10,000 changed some of them")
      try await scene.store.remove(group, some)
      try scene.check(try await scene.store.fetch(group, nil).count == 9_500, "500 were not removed")
      try await scene.store.remove(group, nil)
      try await scene.expect(group, [:], "after it was removed")
    },
    Case(
      "size.long", "Offsets with 4 KiB of metadata each, more than fit one answer, are fetched and scanned."
    ) { scene in
      let text = String(repeating: "m", count: GroupLimits.metadataBytes)
      let offsets = (Int32(0)..<600).map { StoreScene.offset($0, Int64($0), epoch: 1, metadata: text) }
      try await scene.store.commit(scene.group(), memberEpoch: 1, offsets)
      let found = try await scene.store.fetch(scene.group(), nil).sorted { $0.partition < $1.partition }
      try scene.check(found == offsets, "fetch gives \(found.count)")
      let scanned = try await scene.scan(scene.tenant, limit: 1_000).flatMap(\.offsets).count
      try scene.check(scanned == 600, "a scan gives \(scanned)")
      try await scene.store.remove(scene.group(), nil)
    },
  ]
}

/// What the tasks of a race know of each other.
private final class RaceState: Sendable {
  let isFenced = Atomic(false)
  let highest = Mutex<Int64>(0)
  let writers = Atomic(2)
}
