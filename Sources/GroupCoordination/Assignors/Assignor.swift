package import SkeinCore

/// How a group's partitions are divided. Each is a deterministic pure function of its input (G13).
package enum Assignor: Sendable, Hashable {
  /// Balanced within one partition where everybody subscribes to the same; moves as few partitions as that allows.
  case sticky
  /// For each topic consecutive partitions, the members in the order of their ids: partitions of the same number of
  /// several topics meet at the same member.
  case range
  /// All partitions in order, dealt to the members in the order of their ids.
  case roundRobin
  /// Sticky, but a partition goes to members whose label of that name is the partition's place, while there are some.
  case affinity(label: String)

  package static let standard = Assignor.sticky

  /// What may be written as an assignor's name.
  package static let names = ["sticky", "range", "round-robin", "affinity:LABEL"]

  package var name: String {
    switch self {
    case .sticky: "sticky"
    case .range: "range"
    case .roundRobin: "round-robin"
    case .affinity(let label): "affinity:" + label
    }
  }

  package init(named name: String) throws(Fault) {
    switch name {
    case "sticky": self = .sticky
    case "range": self = .range
    case "round-robin": self = .roundRobin
    default:
      let label = name.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard label.count == 2, label[0] == "affinity", !label[1].isEmpty,
        label[1].utf8.count <= GroupLimits.labelBytes
      else {
        throw Fault(
          .unknownAssignor,
          "there is no assignor `\(name.displayable)`\(NearestWord.hint(for: name, in: Self.names)); there are \(Self.names.joined(separator: ", "))",
          metadata: ["assignor": name.displayable])
      }
      self = .affinity(label: String(label[1]))
    }
  }

  /// For each member of the input, in its order, what it shall have.
  package func assign(_ input: AssignmentInput) -> [Set<TopicPartition>] {
    var owners: [Int?]
    switch self {
    case .sticky: owners = StickyAssignment(input, affinity: nil).owners
    case .affinity(let label): owners = StickyAssignment(input, affinity: label).owners
    case .range: owners = input.range()
    case .roundRobin: owners = input.roundRobin()
    }
    var result = [Set<TopicPartition>](repeating: [], count: input.members.count)
    for (index, partition) in input.partitions.enumerated() {
      if let owner = owners[index] { result[owner].insert(partition.id) }
    }
    owners = []
    return result
  }
}

/// What an assignor sees. The same members, topics and owners give the same result.
package struct AssignmentInput: Sendable {
  package struct Member: Sendable {
    package var id: String
    package var labels: [String: String]
    package var topics: Set<TopicID>

    package init(id: String, labels: [String: String] = [:], topics: Set<TopicID>) {
      self.id = id
      self.labels = labels
      self.topics = topics
    }
  }

  package struct Partition: Sendable {
    package let id: TopicPartition
    package let place: String
    /// The index of the member that shall have it so far, if it is still there.
    package let owner: Int?
  }

  /// In the order of their ids.
  package let members: [Member]
  /// In the order of topic and number.
  package let partitions: [Partition]

  /// - Parameter owners: whose each partition is so far, by member id.
  package init(members: [Member], topics: [GroupTopics.Topic], owners: [TopicPartition: String]) {
    self.members = members.sorted { $0.id < $1.id }
    var indexes: [String: Int] = [:]
    for (index, member) in self.members.enumerated() { indexes[member.id] = index }
    var partitions: [Partition] = []
    for topic in topics.sorted(by: { $0.id < $1.id }) {
      for number in 0..<max(topic.partitions, 0) {
        let id = TopicPartition(topic: topic.id, partition: number)
        let place = topic.places.indices.contains(Int(number)) ? topic.places[Int(number)] : ""
        partitions.append(Partition(id: id, place: place, owner: owners[id].flatMap { indexes[$0] }))
      }
    }
    self.partitions = partitions
  }

  /// The members that subscribe to each topic.
  func subscribers() -> [TopicID: [Int]] {
    var subscribers: [TopicID: [Int]] = [:]
    for (index, member) in members.enumerated() {
      for topic in member.topics { subscribers[topic, default: []].append(index) }
    }
    return subscribers
  }

  func range() -> [Int?] {
    let subscribers = subscribers()
    var counts: [TopicID: Int] = [:]
    for partition in partitions { counts[partition.id.topic, default: 0] += 1 }
    return partitions.map { partition in
      guard let members = subscribers[partition.id.topic], let count = counts[partition.id.topic] else {
        return nil
      }
      // The first `count % members` have one more.
      let (share, larger) = (count / members.count, count % members.count)
      let number = Int(partition.id.partition)
      let inLarger = larger * (share + 1)
      return members[number < inLarger ? number / (share + 1) : larger + (number - inLarger) / max(share, 1)]
    }
  }

  func roundRobin() -> [Int?] {
    let subscribers = subscribers()
    var next = 0
    return partitions.map { partition in
      guard let eligible = subscribers[partition.id.topic], !eligible.isEmpty else { return nil }
      // The first subscriber at or after the place of the dealer, around the table.
      let owner = eligible.first { $0 >= next } ?? eligible[0]
      next = owner + 1 == members.count ? 0 : owner + 1
      return owner
    }
  }
}
