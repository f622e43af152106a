import GroupCoordination
import SkeinCore

/// Promises 1 to 5, one caller at a time.
extension OffsetStoreSuite {
  static let commitCases: [Case] = [
    Case("commit.whole", "Everything that was committed is read back, and nothing else.") { scene in
      let group = scene.group()
      var wanted = [
        StoreScene.offset(0, 10, epoch: 4, metadata: "first"), StoreScene.offset(1, 0, epoch: 4),
        StoreScene.offset(7, 1 << 40, epoch: 4, metadata: "last"),
      ]
      wanted[2].committed.leaderEpoch = -1
      try await scene.store.commit(group, memberEpoch: 4, wanted)
      let found = try await scene.store.fetch(group, nil).sorted { $0.partition < $1.partition }
      try scene.check(found == wanted, "\(found) instead of \(wanted)")
    },
    Case(
      "commit.in-turn",
      "Of commits that returned one after another, the last holds, and the others' partitions."
    ) {
      scene in
      let group = scene.group()
      for offset in Int64(1)...100 {
        try await scene.commit(group, epoch: 2, [0: offset, Int32(offset % 5) + 1: offset])
        guard offset % 10 == 0 else { continue }
        var wanted: [Int32: Int64] = [0: offset]
        for before in (offset - 4)...offset { wanted[Int32(before % 5) + 1] = before }
        try await scene.expect(group, wanted, epoch: 2, "after \(offset) commits")
      }
    },
    Case("commit.again", "The same commit again changes nothing and succeeds, also after it was reopened.") {
      scene in
      let group = scene.group()
      for _ in 0..<3 { try await scene.commit(group, epoch: 3, [0: 5, 1: 6]) }
      try await scene.reopen()
      try await scene.commit(group, epoch: 3, [0: 5, 1: 6])
      try await scene.expect(group, [0: 5, 1: 6], epoch: 3, "after the same commit again")
    },
    Case("commit.durable", "What was committed is there after the store was opened again, and still fences.")
    { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 8, [0: 80, 3: 83])
      try await scene.reopen()
      try await scene.expect(group, [0: 80, 3: 83], epoch: 8, "after reopening")
      try await scene.refused(group, epoch: 7, [0: 90], "after reopening, a commit of an older epoch")
      try await scene.refused(group, epoch: 8, [0: 79], "after reopening, a commit that goes back")
    },
    Case("commit.nothing", "A commit of nothing succeeds and makes no group.") { scene in
      try await scene.store.commit(scene.group(), memberEpoch: 1, [])
      try scene.check(try await scene.scan(scene.tenant, limit: 10).isEmpty, "there is a group")
    },
  ]

  static let fenceCases: [Case] = [
    Case("fence.older-epoch", "A commit of an older epoch than one stored is refused.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 5, [0: 50])
      try await scene.refused(group, epoch: 4, [0: 60], "a commit of epoch 4 over one of epoch 5")
      try await scene.refused(
        group, epoch: 1, [0: 50], "a commit of the same offset by epoch 1 over one of epoch 5")
      try await scene.expect(group, [0: 50], epoch: 5, "after refused commits")
    },
    Case("fence.whole", "A commit of which one partition is refused stores none of them.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 4, [2: 20])
      try await scene.commit(group, epoch: 5, [1: 50])
      for partitions in [[0: 1, 1: 60, 2: 21], [1: 60, 2: 21, 3: 1], [0: 1, 1: 60]] as [[Int32: Int64]] {
        try await scene.refused(group, epoch: 4, partitions, "a commit with one partition of a newer epoch")
        try await scene.expect(group, [1: 50, 2: 20], "after a commit that was refused for one partition")
      }
      try await scene.refused(
        group, epoch: 5, [0: 1, 1: 49, 2: 30], "a commit with one partition that goes back")
      try await scene.expect(group, [1: 50, 2: 20], "after a commit that was refused for one partition")
    },
    Case("fence.back", "In one epoch no offset goes back; in a higher one it may.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 5, [0: 50])
      try await scene.refused(group, epoch: 5, [0: 49], "a commit that goes back")
      try await scene.expect(group, [0: 50], epoch: 5, "after a commit that went back")
      try await scene.commit(group, epoch: 6, [0: 40])
      try await scene.expect(group, [0: 40], epoch: 6, "after a commit of a higher epoch")
      try await scene.refused(group, epoch: 5, [0: 51], "a commit of the epoch before")
    },
    Case("fence.each-partition", "Each partition has its own epoch.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 9, [0: 1])
      try await scene.commit(group, epoch: 2, [1: 1])
      try await scene.commit(group, epoch: 3, [1: 2])
      try await scene.refused(group, epoch: 8, [0: 2], "a commit below the partition's epoch")
      try await scene.expect(group, [0: 1, 1: 2], "after commits to two partitions")
    },
    Case("fence.nobody", "Epoch 0 is taken whatever is stored, also back; then every epoch is.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 7, [0: 70, 1: 71])
      try await scene.commit(group, epoch: 0, [0: 3])
      let found = try await scene.store.fetch(group, nil).sorted { $0.partition < $1.partition }
      try scene.check(
        found.map(\.committed.offset.rawValue) == [3, 71], "\(found) after a reset of one of two")
      try scene.check(
        found.map(\.memberEpoch) == [0, 7], "epochs \(found.map(\.memberEpoch)) instead of [0, 7]")
      try await scene.commit(group, epoch: 0, [0: 2])
      try await scene.commit(group, epoch: 1, [0: 2])
      try await scene.refused(
        group, epoch: 6, [1: 80], "a commit of an older epoch to the partition that was not reset")
      try await scene.expect(group, [0: 2, 1: 71], "at the end")
    },
  ]

  static let fetchCases: [Case] = [
    Case("fetch.some", "Of the partitions that were asked for, those that there are; of none, none.") {
      scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 1, [0: 1, 1: 2, 2: 3])
      let other = TopicID(high: 1, low: 1)
      let found = try await scene.store.fetch(
        group,
        [
          StoreScene.partition(2), StoreScene.partition(9), StoreScene.partition(1, of: other),
          StoreScene.partition(0),
        ])
      try scene.check(Set(found.map(\.partition.partition)) == [0, 2] && found.count == 2, "\(found)")
      let none = try await scene.store.fetch(group, [])
      try scene.check(none.isEmpty, "asked for no partition, it gives \(none.count)")
    },
    Case("fetch.unknown", "A group that never committed has nothing, and asking does not make it.") { scene in
      try await scene.commit(scene.group("there"), epoch: 1, [0: 1])
      try scene.check(try await scene.store.fetch(scene.group("not-there"), nil).isEmpty, "it has offsets")
      try scene.check(
        try await scene.store.fetch(scene.group("not-there"), [StoreScene.partition(0)]).isEmpty,
        "it has offsets")
      let names = try await scene.scan(scene.tenant, limit: 100).map(\.name)
      try scene.check(names == ["there"], "the tenant's groups are \(names)")
    },
    Case("fetch.topics", "Partitions of the same number in different topics are apart.") { scene in
      let group = scene.group()
      let topics = [TopicID(high: 0, low: 0), TopicID(high: 0, low: 1), TopicID(high: .max, low: .max)]
      for (number, topic) in topics.enumerated() {
        var offset = StoreScene.offset(0, Int64(number), epoch: 1)
        offset.partition = StoreScene.partition(0, of: topic)
        try await scene.store.commit(group, memberEpoch: 1, [offset])
      }
      let found = try await scene.store.fetch(group, nil).sorted { $0.partition < $1.partition }
      try scene.check(found.map(\.partition.topic) == topics, "topics \(found.map(\.partition.topic))")
      try scene.check(
        found.map(\.committed.offset.rawValue) == [0, 1, 2], "offsets \(found.map(\.committed.offset))")
    },
  ]
}
