internal import SkeinCore

/// The bytes of a record in `__groups`: a key, and a value or nothing (a tombstone). The key begins with the type,
/// the value with its version. Numbers are little-endian; maps are written in the order of their keys, so that the
/// same state is the same bytes.
extension GroupRecord {
  /// Of every value below; a field more is a version more.
  package static let version: UInt8 = 1

  private enum Kind: UInt8 {
    case group = 1
    case topics = 2
    case member = 3
    case assignment = 4
    case offset = 5
    case epochFloor = 6
  }

  // MARK: Writing

  package var key: [UInt8] {
    var out = RecordWriter()
    func begin(_ kind: Kind, _ group: GroupKey) {
      out.put(kind.rawValue)
      out.put(group.tenant)
      out.put(group.name)
    }
    switch self {
    case .group(let group, _): begin(.group, group)
    case .topics(let group, _): begin(.topics, group)
    case .member(let group, let member, _):
      begin(.member, group)
      out.put(member)
    case .assignment(let group, let member, _):
      begin(.assignment, group)
      out.put(member)
    case .offset(let group, let partition, _):
      begin(.offset, group)
      out.put(partition.topic)
      out.put(partition.partition)
    case .epochFloor: out.put(Kind.epochFloor.rawValue)
    }
    return out.bytes
  }

  /// Nil is a tombstone.
  package var value: [UInt8]? {
    var out = RecordWriter()
    out.put(Self.version)
    switch self {
    case .group(_, let value):
      guard let value else { return nil }
      value.write(to: &out)
    case .topics(_, let value):
      guard let value else { return nil }
      value.write(to: &out)
    case .member(_, _, let value):
      guard let value else { return nil }
      value.write(to: &out)
    case .assignment(_, _, let value):
      guard let value else { return nil }
      value.write(to: &out)
    case .offset(_, _, let value):
      guard let value else { return nil }
      value.write(to: &out)
    case .epochFloor(let epoch): out.put(epoch)
    }
    return out.bytes
  }

  // MARK: Reading

  package init(key: [UInt8], value: [UInt8]?) throws(GroupRecordError) {
    var keyReader = RecordReader(key)
    let type: UInt8 = try keyReader.integer()
    guard let kind = Kind(rawValue: type) else { throw .unknownType(type) }
    var reader = RecordReader(value ?? [])
    if value != nil {
      let version: UInt8 = try reader.integer()
      guard version == Self.version else { throw .unknownVersion(version) }
    }
    self = try Self.read(kind, key: &keyReader, value: &reader, isTombstone: value == nil)
    try keyReader.end()
    try reader.end()
  }

  private static func read(
    _ kind: Kind, key: inout RecordReader, value: inout RecordReader, isTombstone: Bool
  ) throws(GroupRecordError) -> GroupRecord {
    if kind == .epochFloor {
      guard !isTombstone else { throw .invalid("no value, where one must be") }
      return .epochFloor(try value.integer())
    }
    let group = GroupKey(tenant: try key.string(), name: try key.string())
    switch kind {
    case .group: return .group(group, isTombstone ? nil : try GroupValue(from: &value))
    case .topics: return .topics(group, isTombstone ? nil : try GroupTopics(from: &value))
    case .member:
      return .member(group, try key.string(), isTombstone ? nil : try MemberProfile(from: &value))
    case .assignment:
      return .assignment(group, try key.string(), isTombstone ? nil : try MemberAssignment(from: &value))
    case .offset, .epochFloor:
      let partition = TopicPartition(topic: try key.topicID(), partition: try key.integer())
      return .offset(group, partition, isTombstone ? nil : try CommittedOffset(from: &value))
    }
  }
}

extension GroupValue {
  fileprivate func write(to out: inout RecordWriter) {
    out.put(epoch)
    out.put(assignmentEpoch)
    out.put(assignor)
    out.put(emptySince ?? Int64.min)
  }

  fileprivate init(from reader: inout RecordReader) throws(GroupRecordError) {
    self.init(
      epoch: try reader.integer(), assignmentEpoch: try reader.integer(), assignor: try reader.string(),
      emptySince: nil)
    let empty: Int64 = try reader.integer()
    if empty != .min { emptySince = empty }
  }
}

extension GroupTopics {
  fileprivate func write(to out: inout RecordWriter) {
    out.put(UInt32(topics.count))
    for topic in topics {
      out.put(topic.name)
      out.put(topic.id)
      out.put(topic.partitions)
      out.put(topic.places)
    }
    out.put(UInt32(patterns.count))
    for (pattern, names) in patterns.sorted(by: { $0.key < $1.key }) {
      out.put(pattern)
      out.put(names)
    }
  }

  fileprivate init(from reader: inout RecordReader) throws(GroupRecordError) {
    var topics: [Topic] = []
    for _ in 0..<(try reader.count(of: 26)) {
      let name = try reader.string()
      let id = try reader.topicID()
      let partitions: Int32 = try reader.integer()
      guard TopicName.partitionRange.contains(partitions) else {
        throw .invalid("a topic of \(partitions) partitions")
      }
      topics.append(Topic(name: name, id: id, partitions: partitions, places: try reader.strings()))
    }
    var patterns: [String: [String]] = [:]
    for _ in 0..<(try reader.count(of: 6)) {
      let pattern = try reader.string()
      patterns[pattern] = try reader.strings()
    }
    self.init(topics: topics, patterns: patterns)
  }
}

extension MemberProfile {
  fileprivate func write(to out: inout RecordWriter) {
    out.put(instanceID)
    out.put(processID)
    out.put(client)
    out.put(subscription.names)
    out.put(subscription.patterns)
    out.put(UInt32(labels.count))
    for (name, value) in labels.sorted(by: { $0.key < $1.key }) {
      out.put(name)
      out.put(value)
    }
    out.put(assignor)
    out.put(processing)
    out.put(joinEpoch)
  }

  fileprivate init(from reader: inout RecordReader) throws(GroupRecordError) {
    instanceID = try reader.optionalString()
    processID = try reader.string()
    client = try reader.string()
    subscription = Subscription(names: try reader.strings(), patterns: try reader.strings())
    labels = [:]
    for _ in 0..<(try reader.count(of: 4)) {
      let name = try reader.string()
      labels[name] = try reader.string()
    }
    assignor = try reader.optionalString()
    processing = try reader.integer()
    // Nanoseconds are made of it.
    guard (0...GroupLimits.longestProcessing).contains(processing) else {
      throw .invalid("a processing deadline of \(processing) ms")
    }
    joinEpoch = try reader.integer()
  }
}

extension MemberAssignment {
  fileprivate func write(to out: inout RecordWriter) {
    out.put(epoch)
    for grants in [assigned, revoking] {
      out.put(UInt32(grants.count))
      for (partition, epoch) in grants.sorted(by: { $0.key < $1.key }) {
        out.put(partition.topic)
        out.put(partition.partition)
        out.put(epoch)
      }
    }
    out.put(UInt32(target.count))
    for partition in target.sorted() {
      out.put(partition.topic)
      out.put(partition.partition)
    }
  }

  fileprivate init(from reader: inout RecordReader) throws(GroupRecordError) {
    self.init(epoch: try reader.integer())
    assigned = try Self.grants(from: &reader)
    revoking = try Self.grants(from: &reader)
    for _ in 0..<(try reader.count(of: 20)) {
      target.insert(TopicPartition(topic: try reader.topicID(), partition: try reader.integer()))
    }
  }

  private static func grants(
    from reader: inout RecordReader
  ) throws(GroupRecordError) -> [TopicPartition: Int32] {
    var grants: [TopicPartition: Int32] = [:]
    for _ in 0..<(try reader.count(of: 24)) {
      let partition = TopicPartition(topic: try reader.topicID(), partition: try reader.integer())
      grants[partition] = try reader.integer()
    }
    return grants
  }
}

extension CommittedOffset {
  fileprivate func write(to out: inout RecordWriter) {
    out.put(offset.rawValue)
    out.put(leaderEpoch)
    out.put(metadata)
    out.put(committedAt)
  }

  fileprivate init(from reader: inout RecordReader) throws(GroupRecordError) {
    let offset: Int64 = try reader.integer()
    guard offset >= 0, offset < Offset.limit.rawValue else { throw .invalid("the offset \(offset)") }
    self.init(
      offset: Offset(offset), leaderEpoch: try reader.integer(), metadata: try reader.string(),
      committedAt: try reader.integer())
  }
}
