internal import SkeinCore

/// Divides partitions evenly and moves as few as that allows.
///
/// *Even* means: the sum of the squares of the members' counts is the least that the subscriptions allow; with equal
/// subscriptions that is "within one". *Few* means: among all even divisions one with the least number of partitions
/// that leave a member which could keep them.
///
/// - Everybody may have everything (the usual case): exact, in O(partitions + members log members). The members with
///   the most keep one more than the others.
/// - Otherwise, up to `exactMembers` members: exact. Both aims are one convex cost flow from partitions to
///   members; a division is the best one if and only if no cycle of moves lowers the cost, so cycles are undone
///   until none is left (Klein's algorithm on the graph of the members).
/// - Otherwise: single moves from a member to one that has at least two less, until there is none.
struct StickyAssignment {
  /// Up to this many members different subscriptions are divided exactly; a round costs the cube of it.
  static let exactMembers = 32

  private(set) var owners: [Int?]
  private let partitions: [AssignmentInput.Partition]
  private let memberCount: Int
  /// For each partition the index of its set of possible owners in `eligible`.
  private var classes: [Int] = []
  private var eligible: [[Int]] = []
  private var mayOwn: [[Bool]] = []
  private var loads: [Int]

  init(_ input: AssignmentInput, affinity label: String?) {
    partitions = input.partitions
    memberCount = input.members.count
    owners = input.partitions.map(\.owner)
    loads = Array(repeating: 0, count: memberCount)
    classify(input, label)
    for (index, owner) in owners.enumerated() {
      guard let owner else { continue }
      if mayOwn[classes[index]][owner] { loads[owner] += 1 } else { owners[index] = nil }
    }
    let used = Set(classes)
    if used.count == 1, let only = used.first, !eligible[only].isEmpty {
      divideEqually(among: eligible[only])
    } else {
      place(partitions.indices.filter { owners[$0] == nil })
      if memberCount <= Self.exactMembers { undoCycles() } else { moveSingly() }
    }
  }

  private mutating func classify(_ input: AssignmentInput, _ label: String?) {
    let subscribers = input.subscribers()
    var known: [[Int]: Int] = [:]
    var cache: [TopicID: [String: Int]] = [:]
    for partition in partitions {
      if let index = cache[partition.id.topic]?[partition.place] {
        classes.append(index)
        continue
      }
      var owners = subscribers[partition.id.topic] ?? []
      if let label, !partition.place.isEmpty {
        let near = owners.filter { input.members[$0].labels[label] == partition.place }
        if !near.isEmpty { owners = near }
      }
      let index = known[owners] ?? eligible.count
      if index == eligible.count {
        known[owners] = index
        eligible.append(owners)
        var row = [Bool](repeating: false, count: memberCount)
        for owner in owners { row[owner] = true }
        mayOwn.append(row)
      }
      cache[partition.id.topic, default: [:]][partition.place] = index
      classes.append(index)
    }
  }

  // MARK: Everybody may have everything

  private mutating func divideEqually(among members: [Int]) {
    let (share, larger) = (partitions.count / members.count, partitions.count % members.count)
    var room = [Int](repeating: 0, count: memberCount)
    // Those with the most keep one more: that is what saves moves.
    let byLoad = members.sorted { (loads[$1], $0) < (loads[$0], $1) }
    for (rank, member) in byLoad.enumerated() { room[member] = share + (rank < larger ? 1 : 0) }
    var free: [Int] = []
    for (index, owner) in owners.enumerated() {
      guard let owner, room[owner] > 0 else {
        owners[index] = nil
        free.append(index)
        continue
      }
      room[owner] -= 1
    }
    var takers = members.flatMap { Array(repeating: $0, count: room[$0]) }[...]
    for index in free { owners[index] = takers.popFirst() }
  }

  // MARK: Different subscriptions

  /// Each to the least loaded of those that may have it.
  private mutating func place(_ free: [Int]) {
    for index in free {
      guard let owner = eligible[classes[index]].min(by: { (loads[$0], $0) < (loads[$1], $1) }) else {
        continue
      }
      owners[index] = owner
      loads[owner] += 1
    }
  }

  private mutating func move(_ index: Int, from old: Int, to new: Int) {
    owners[index] = new
    loads[old] -= 1
    loads[new] += 1
  }

  private mutating func moveSingly() {
    var isMoving = true
    while isMoving {
      isMoving = false
      for index in partitions.indices {
        guard let owner = owners[index],
          let other = eligible[classes[index]].min(by: { (loads[$0], $0) < (loads[$1], $1) }),
          loads[owner] >= loads[other] + 2
        else { continue }
        move(index, from: owner, to: other)
        isMoving = true
      }
    }
  }

  private struct Edge {
    var from: Int
    var to: Int
    var cost: Int
    /// The partition that moves; nil between a member and the balance.
    var partition: Int?
  }

  /// Every round lowers the cost by at least one, so there is an end.
  private mutating func undoCycles() {
    while let cycle = cheapeningCycle() {
      for edge in cycle {
        if let partition = edge.partition { move(partition, from: edge.from, to: edge.to) }
      }
    }
  }

  /// Nodes are the members and, as the last, the balance: an edge from a member to it says that the member ends
  /// up with one more, an edge back that it ends up with one less.
  private func edges() -> [Edge] {
    // One step of balance outweighs every possible saving of moves.
    let weight = partitions.count + 1
    var cheapest: [Int: Edge] = [:]
    for (index, owner) in owners.enumerated() {
      guard let owner else { continue }
      let kept = partitions[index].owner
      for other in eligible[classes[index]] where other != owner {
        let cost = kept == owner ? 1 : kept == other ? -1 : 0
        let place = owner * memberCount + other
        if let known = cheapest[place], known.cost <= cost { continue }
        cheapest[place] = Edge(from: owner, to: other, cost: cost, partition: index)
      }
    }
    var edges = cheapest.sorted { $0.key < $1.key }.map(\.value)
    for member in 0..<memberCount {
      edges.append(Edge(from: member, to: memberCount, cost: weight * (2 * loads[member] + 1)))
      if loads[member] > 0 {
        edges.append(Edge(from: memberCount, to: member, cost: weight * (1 - 2 * loads[member])))
      }
    }
    return edges
  }

  /// Bellman and Ford, from everywhere at once.
  private func cheapeningCycle() -> [Edge]? {
    let edges = edges()
    var distance = [Int](repeating: 0, count: memberCount + 1)
    var arrival = [Int?](repeating: nil, count: memberCount + 1)
    var last: Int?
    for _ in 0...memberCount {
      last = nil
      for (index, edge) in edges.enumerated() where distance[edge.from] + edge.cost < distance[edge.to] {
        distance[edge.to] = distance[edge.from] + edge.cost
        arrival[edge.to] = index
        last = edge.to
      }
      if last == nil { return nil }
    }
    // Something still changed in the last round: going back as often as there are nodes ends inside a cycle.
    guard var node = last else { return nil }
    for _ in 0...memberCount { if let edge = arrival[node] { node = edges[edge].from } }
    var cycle: [Edge] = []
    var place = node
    repeat {
      guard let edge = arrival[place] else { return nil }
      cycle.append(edges[edge])
      place = edges[edge].from
    } while place != node && cycle.count <= edges.count
    return cycle.reversed()
  }
}
