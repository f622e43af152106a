import GroupCoordination
import SkeinCore
import Testing

/// The assignors are pure functions of their input (G13).
@Suite struct AssignorTests {
  static func topic(_ number: UInt64, _ partitions: Int32, places: [String] = []) -> GroupTopics.Topic {
    GroupTopics.Topic(
      name: "t\(number)", id: TopicID(high: 0, low: number), partitions: partitions, places: places)
  }

  static func member(
    _ id: String, _ topics: [UInt64] = [1], labels: [String: String] = [:]
  ) -> AssignmentInput.Member {
    AssignmentInput.Member(id: id, labels: labels, topics: Set(topics.map { TopicID(high: 0, low: $0) }))
  }

  static func partition(_ number: Int32, topic: UInt64 = 1) -> TopicPartition {
    TopicPartition(topic: TopicID(high: 0, low: topic), partition: number)
  }

  private func sets(
    _ assignor: Assignor, _ members: [AssignmentInput.Member], _ topics: [GroupTopics.Topic],
    owners: [TopicPartition: String] = [:]
  ) -> [String: [TopicPartition]] {
    let input = AssignmentInput(members: members, topics: topics, owners: owners)
    var result: [String: [TopicPartition]] = [:]
    for (member, set) in zip(input.members, assignor.assign(input)) { result[member.id] = set.sorted() }
    return result
  }

  // MARK: Range, round robin

  @Test func rangeGivesNeighboursAndTheSameNumbersOfEveryTopic() {
    let result = sets(
      .range, [Self.member("b", [1, 2]), Self.member("a", [1, 2])], [Self.topic(1, 5), Self.topic(2, 5)])
    #expect(result["a"]?.map(\.partition) == [0, 1, 2, 0, 1, 2])
    #expect(result["b"]?.map(\.partition) == [3, 4, 3, 4])
  }

  @Test func rangeLeavesMembersIdleWhenThereAreTooMany() {
    let result = sets(.range, ["a", "b", "c"].map { Self.member($0) }, [Self.topic(1, 2)])
    #expect(result.mapValues(\.count) == ["a": 1, "b": 1, "c": 0])
  }

  @Test func roundRobinDealsAroundTheTable() {
    let members = [Self.member("a", [1, 2]), Self.member("b", [1]), Self.member("c", [1, 2])]
    let result = sets(.roundRobin, members, [Self.topic(1, 4), Self.topic(2, 2)])
    #expect(result["a"] == [Self.partition(0), Self.partition(3), Self.partition(1, topic: 2)])
    #expect(result["b"] == [Self.partition(1)])
    #expect(result["c"] == [Self.partition(2), Self.partition(0, topic: 2)])
  }

  @Test(arguments: [Assignor.sticky, .range, .roundRobin, .affinity(label: "zone")])
  func everythingHasOneOwnerThatSubscribes(_ assignor: Assignor) {
    var random = SeededRandom(seed: 7)
    for _ in 0..<200 {
      let input = Self.input(&random, members: 1 + random.below(6), partitions: 6)
      let sets = assignor.assign(input)
      #expect(sets.count == input.members.count)
      for partition in input.partitions {
        let owners = sets.indices.filter { sets[$0].contains(partition.id) }
        let subscribers = input.members.indices.filter {
          input.members[$0].topics.contains(partition.id.topic)
        }
        #expect(owners.count == (subscribers.isEmpty ? 0 : 1))
        #expect(Set(owners).isSubset(of: subscribers))
      }
      #expect(assignor.assign(input) == sets, "the same input, the same result")
    }
  }

  @Test func withoutMembersNothingIsAssigned() {
    for assignor in [Assignor.sticky, .range, .roundRobin, .affinity(label: "zone")] {
      #expect(sets(assignor, [], [Self.topic(1, 3)]).isEmpty)
      #expect(sets(assignor, [Self.member("a", [9])], [Self.topic(1, 3)]) == ["a": []])
    }
  }

  // MARK: Sticky

  @Test func aNewcomerTakesItsShareAndNobodyElseMoves() {
    let owners = Dictionary(
      uniqueKeysWithValues: (0..<9).map { (Self.partition($0), ["a", "b", "c"][Int($0 % 3)]) })
    let result = sets(
      .sticky, ["a", "b", "c", "d"].map { Self.member($0) }, [Self.topic(1, 9)], owners: owners)
    #expect(result.values.map(\.count).sorted() == [2, 2, 2, 3])
    let moved = result.flatMap { id, set in set.filter { owners[$0] != id } }
    #expect(moved.count == 2 && result["d"]?.count == 2)
  }

  @Test func whoLeavesIsSharedOut() {
    let owners = Dictionary(
      uniqueKeysWithValues: (0..<9).map { (Self.partition($0), ["a", "b", "c"][Int($0 % 3)]) })
    let result = sets(.sticky, ["a", "b"].map { Self.member($0) }, [Self.topic(1, 9)], owners: owners)
    #expect(result.values.map(\.count).sorted() == [4, 5])
    for (partition, owner) in owners where owner != "c" {
      #expect(result[owner]?.contains(partition) == true)
    }
  }

  /// Equal subscriptions and different ones, against every possible division.
  @Test(arguments: [true, false]) func stickyIsTheBestOfAllDivisions(equal: Bool) {
    var random = SeededRandom(seed: equal ? 1 : 2)
    for _ in 0..<400 {
      let input = Self.input(&random, members: 1 + random.below(3), partitions: 5, equal: equal)
      let (squares, moves) = cost(Assignor.sticky.assign(input), of: input, label: nil)
      let best = BruteForce.best(input, label: nil)
      #expect(squares == best.squares && moves == best.moves, "\(input): \(squares), \(moves), best \(best)")
    }
  }

  @Test func largeGroupsWithDifferentSubscriptionsAreBalancedByMoves() {
    var random = SeededRandom(seed: 3)
    let members = (0..<60).map { index in
      Self.member("m\(100 + index)", index % 3 == 0 ? [1, 2] : index % 3 == 1 ? [1] : [2])
    }
    var owners: [TopicPartition: String] = [:]
    for number: Int32 in 0..<120 { owners[Self.partition(number)] = "m\(100 + random.below(60))" }
    let result = sets(.sticky, members, [Self.topic(1, 120), Self.topic(2, 120)], owners: owners)
    let counts = result.values.map(\.count)
    #expect(counts.reduce(0, +) == 240 && counts.allSatisfy { (3...5).contains($0) }, "\(counts)")
  }

  // MARK: Affinity

  @Test func partitionsGoToMembersOfTheirPlace() {
    let topic = Self.topic(1, 6, places: ["x", "x", "y", "y", "", "z"])
    let members = [
      Self.member("a", labels: ["zone": "x"]), Self.member("b", labels: ["zone": "y"]),
      Self.member("c", labels: ["zone": "y"]), Self.member("d"),
    ]
    let result = sets(.affinity(label: "zone"), members, [topic])
    #expect(result["a"]?.map(\.partition) == [0, 1])
    let near = (result["b"] ?? []) + (result["c"] ?? [])
    #expect(Set(near).isSuperset(of: [Self.partition(2), Self.partition(3)]))
    // Nobody is at z, and one partition is nowhere: those balance what the places leave uneven.
    #expect(result.values.map(\.count).sorted() == [1, 1, 2, 2])
    // Without anybody there the place does not matter.
    let away = sets(.affinity(label: "rack"), members, [topic])
    #expect(away.values.map(\.count).sorted() == [1, 1, 2, 2])
  }

  @Test func affinityIsTheBestOfAllDivisionsToo() {
    var random = SeededRandom(seed: 4)
    for _ in 0..<300 {
      let input = Self.input(&random, members: 1 + random.below(3), partitions: 5, places: true)
      let (squares, moves) = cost(Assignor.affinity(label: "zone").assign(input), of: input, label: "zone")
      let best = BruteForce.best(input, label: "zone")
      #expect(squares == best.squares && moves == best.moves, "\(input): \(squares), \(moves), best \(best)")
    }
  }

  // MARK: Making and judging

  static func input(
    _ random: inout SeededRandom, members: Int, partitions: Int32, equal: Bool = false, places: Bool = false
  ) -> AssignmentInput {
    let first = Int32(random.below(Int(partitions) + 1))
    func where_(_ count: Int32) -> [String] {
      places ? (0..<count).map { _ in ["x", "y", ""][random.below(3)] } : []
    }
    let topics = [
      Self.topic(1, first, places: where_(first)),
      Self.topic(2, partitions - first, places: where_(partitions - first)),
    ]
    let list = (0..<members).map { index in
      Self.member(
        "m\(index)", equal ? [1, 2] : [[1], [2], [1, 2], [1, 2]][random.below(4)],
        labels: places ? ["zone": ["x", "y"][random.below(2)]] : [:])
    }
    var owners: [TopicPartition: String] = [:]
    for topic in topics {
      for number in 0..<topic.partitions where random.chance(75) {
        // One that is not there any more too.
        owners[TopicPartition(topic: topic.id, partition: number)] = "m\(random.below(members + 1))"
      }
    }
    return AssignmentInput(members: list, topics: topics, owners: owners)
  }

  private func cost(_ sets: [Set<TopicPartition>], of input: AssignmentInput, label: String?) -> (
    squares: Int, moves: Int
  ) {
    let owners = input.partitions.map { partition in sets.firstIndex { $0.contains(partition.id) } }
    return BruteForce.cost(owners, of: input, label: label)
  }
}

/// Every division there is.
enum BruteForce {
  static func eligible(_ partition: AssignmentInput.Partition, _ input: AssignmentInput, _ label: String?)
    -> [Int]
  {
    let all = input.members.indices.filter { input.members[$0].topics.contains(partition.id.topic) }
    guard let label, !partition.place.isEmpty else { return all }
    let near = all.filter { input.members[$0].labels[label] == partition.place }
    return near.isEmpty ? all : near
  }

  static func cost(_ owners: [Int?], of input: AssignmentInput, label: String?) -> (squares: Int, moves: Int)
  {
    var loads = [Int](repeating: 0, count: input.members.count)
    var moves = 0
    for (partition, owner) in zip(input.partitions, owners) {
      guard let owner else { continue }
      loads[owner] += 1
      if let kept = partition.owner, kept != owner, eligible(partition, input, label).contains(kept) {
        moves += 1
      }
    }
    return (loads.reduce(0) { $0 + $1 * $1 }, moves)
  }

  static func best(_ input: AssignmentInput, label: String?) -> (squares: Int, moves: Int) {
    let choices = input.partitions.map { eligible($0, input, label) }
    var best = (squares: Int.max, moves: Int.max)
    func go(_ index: Int, _ owners: [Int?]) {
      guard index < choices.count else {
        let found = cost(owners, of: input, label: label)
        if found < best { best = found }
        return
      }
      if choices[index].isEmpty { return go(index + 1, owners + [nil]) }
      for choice in choices[index] { go(index + 1, owners + [choice]) }
    }
    go(0, [])
    return best
  }
}
