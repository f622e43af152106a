import GroupCoordination
import OffsetStorage
import SkeinCore
import Synchronization

/// The protocol in its simplest form, and the mistakes that a store can make: the suite must find each of them.
final class MemoryStore: OffsetStore {
  enum Breakage: String, Sendable, CaseIterable {
    case acceptsOlderEpochs
    case goesBackInOneEpoch
    case neverGoesBack
    case storesPartOfARefusedCommit
    case refusesTheSameAgain
    case forgetsWhenReopened
    case forgetsEpochsWhenReopened
    case keepsTheEpochOverAReset
    case fencesNobody
    case oneEpochForAGroup
    case storesLater
    case checksBeforeItWaits
    case fetchesWithoutALock
    case ignoresPartitionsOfAFetch
    case takesNoPartitionsForAll
    case ignoresTheTopic
    case mixesTenants
    case mixesTenantAndGroup
    case foldsCase
    case trimsNames
    case cutsMetadata
    case composesUnicode
    case scanSkipsAtPageEnds
    case scanRepeatsAtPageEnds
    case scanCountsGroups
    case scanInOrderOfCreation
    case scanByPosition
    case removesOfOtherGroups
    case removesWithPatterns
    case removesNothing
    case rememberEpochsOfRemoved
    case cutsLargeCommits
    case cutsNumbersTo32Bits
    case dropsLeaderEpoch
    case emptyCommitMakesAGroup
  }

  struct Place: Hashable {
    var tenant: String
    var group: String
    var partition: TopicPartition

    // By bytes: String takes canonically equal texts for one.
    static func == (a: Place, b: Place) -> Bool {
      a.tenant == b.tenant && a.group.utf8.elementsEqual(b.group.utf8) && a.partition == b.partition
    }

    func hash(into hasher: inout Hasher) {
      hasher.combine(tenant)
      for byte in group.utf8 { hasher.combine(byte) }
      hasher.combine(partition)
    }
  }

  struct Contents {
    var rows: [Place: StoredOffset] = [:]
    /// In the order in which they came.
    var order: [Place] = []
    var epochs: [Place: Int32] = [:]
    var groupEpochs: [GroupKey: Int32] = [:]
    var late: [(Place, StoredOffset)] = []
  }

  /// What lives longer than an opened store.
  final class Medium: Sendable {
    let contents = Mutex(Contents())
  }

  let name = "memory"
  private let medium: Medium
  private let breakage: Breakage?

  init(_ medium: Medium, _ breakage: Breakage?) {
    self.medium = medium
    self.breakage = breakage
    medium.contents.withLock { contents in
      if breakage == .forgetsWhenReopened { contents = Contents() }
      if breakage == .forgetsEpochsWhenReopened {
        for place in contents.rows.keys { contents.rows[place]?.memberEpoch = 0 }
      }
    }
  }

  func close() async {}

  private func place(_ group: GroupKey, _ partition: TopicPartition) -> Place {
    var place = Place(tenant: group.tenant, group: group.name, partition: partition)
    switch breakage {
    case .mixesTenants: place.tenant = ""
    case .mixesTenantAndGroup:
      place.group = place.tenant + ":" + place.group
      place.tenant = ""
    case .foldsCase: place.group = place.group.lowercased()
    case .trimsNames: place.group = String(place.group.reversed().drop { $0 == " " }.reversed())
    case .ignoresTheTopic:
      place.partition = TopicPartition(topic: TopicID(high: 0, low: 0), partition: partition.partition)
    default: break
    }
    return place
  }

  // MARK: Commit

  func commit(_ group: GroupKey, memberEpoch: Int32, _ offsets: [StoredOffset]) async throws(Fault) {
    var fault: Fault?
    if breakage == .checksBeforeItWaits {
      fault = medium.contents.withLock { check(group, memberEpoch, offsets, &$0) }
      await Task.yield()
      if fault == nil { medium.contents.withLock { store(group, memberEpoch, offsets, &$0) } }
    } else if breakage == .fetchesWithoutALock {
      fault = medium.contents.withLock { check(group, memberEpoch, offsets, &$0) }
      if fault == nil {
        for offset in offsets {
          medium.contents.withLock { store(group, memberEpoch, [offset], &$0) }
          await Task.yield()
        }
      }
    } else {
      fault = medium.contents.withLock { contents -> Fault? in
        for (place, offset) in contents.late { contents.rows[place] = offset }
        contents.late = []
        if let fault = check(group, memberEpoch, offsets, &contents) { return fault }
        store(group, memberEpoch, offsets, &contents)
        return nil
      }
    }
    if let fault { throw fault }
  }

  private func check(
    _ group: GroupKey, _ epoch: Int32, _ offsets: [StoredOffset], _ contents: inout Contents
  ) -> Fault? {
    let conflict = Fault(.conflict, "a newer one is stored")
    if epoch == 0, breakage != .fencesNobody { return nil }
    if breakage == .oneEpochForAGroup {
      if epoch < contents.groupEpochs[group] ?? 0 { return conflict }
    }
    for offset in offsets {
      let place = place(group, offset.partition)
      if breakage == .rememberEpochsOfRemoved, epoch < contents.epochs[place] ?? 0 { return conflict }
      guard let before = contents.rows[place] else {
        if breakage == .storesPartOfARefusedCommit { store(group, epoch, [offset], &contents) }
        continue
      }
      if breakage == .refusesTheSameAgain, before == offset { return conflict }
      if epoch < before.memberEpoch, breakage != .acceptsOlderEpochs { return conflict }
      let isBack = offset.committed.offset < before.committed.offset
      if isBack, epoch == before.memberEpoch, breakage != .goesBackInOneEpoch { return conflict }
      if isBack, breakage == .neverGoesBack { return conflict }
      if breakage == .storesPartOfARefusedCommit { store(group, epoch, [offset], &contents) }
    }
    return nil
  }

  private func store(_ group: GroupKey, _ epoch: Int32, _ offsets: [StoredOffset], _ contents: inout Contents)
  {
    contents.groupEpochs[group] = max(epoch, contents.groupEpochs[group] ?? 0)
    if offsets.isEmpty, breakage == .emptyCommitMakesAGroup {
      let place = place(group, TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0))
      contents.order.append(place)
      contents.rows[place] = StoredOffset(
        partition: place.partition,
        committed: CommittedOffset(offset: .zero, leaderEpoch: 0, metadata: "", committedAt: 0),
        memberEpoch: 0)
    }
    for var offset in breakage == .cutsLargeCommits ? offsets.prefix(1_000) : offsets[...] {
      let place = place(group, offset.partition)
      if epoch == 0, breakage == .keepsTheEpochOverAReset, let before = contents.rows[place] {
        offset.memberEpoch = before.memberEpoch
      }
      switch breakage {
      case .cutsMetadata: offset.committed.metadata = String(offset.committed.metadata.prefix(1_024))
      case .composesUnicode:
        offset.committed.metadata = String(offset.committed.metadata.map { $0 == "ü" ? "ü" : $0 })
      case .cutsNumbersTo32Bits:
        offset.committed.offset = Offset(offset.committed.offset.rawValue & 0xffff_ffff)
      case .dropsLeaderEpoch: offset.committed.leaderEpoch = max(offset.committed.leaderEpoch, 0)
      default: break
      }
      contents.epochs[place] = epoch
      if breakage == .storesLater, contents.rows[place] != nil {
        contents.late.append((place, offset))
        continue
      }
      if contents.rows.updateValue(offset, forKey: place) == nil { contents.order.append(place) }
    }
  }

  // MARK: Look

  func fetch(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) -> [StoredOffset] {
    let contents = medium.contents.withLock { $0 }
    let anywhere = place(group, TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0))
    var wanted = partitions.map { Set($0.map { place(group, $0).partition }) }
    if breakage == .ignoresPartitionsOfAFetch { wanted = nil }
    if breakage == .takesNoPartitionsForAll, wanted?.isEmpty == true { wanted = nil }
    return contents.rows.filter { row in
      row.key.tenant == anywhere.tenant && Self.same(row.key.group, anywhere.group)
        && wanted?.contains(row.key.partition) ?? true
    }.values.sorted { $0.partition < $1.partition }
  }

  /// Not `==`, which takes canonically equal texts for one.
  private static func same(_ a: String, _ b: String) -> Bool { Array(a.utf8) == Array(b.utf8) }

  func scan(tenant: String, after token: String, limit: Int) async throws(Fault) -> StoredOffsetPage {
    let contents = medium.contents.withLock { $0 }
    let wanted = place(
      GroupKey(tenant: tenant, name: ""), TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0)
    ).tenant
    var places = contents.rows.keys.filter { $0.tenant == wanted }
    if breakage == .scanInOrderOfCreation {
      places = contents.order.filter { contents.rows[$0] != nil && $0.tenant == wanted }
    } else {
      places.sort(by: Self.precedes)
    }
    if breakage == .scanByPosition || breakage == .scanInOrderOfCreation {
      places.removeFirst(min(places.count, Int(token) ?? 0))
    } else if !token.isEmpty {
      let parts = token.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, let topic = TopicID(parts[0]), let number = Int32(parts[1]) else {
        throw Fault(.invalidRequest, "no token")
      }
      let last = Place(
        tenant: wanted, group: String(parts[2]), partition: TopicPartition(topic: topic, partition: number))
      places.removeAll { place in
        if breakage == .scanSkipsAtPageEnds {
          return !Self.precedes(last, place) || place.group == last.group
        }
        if breakage == .scanRepeatsAtPageEnds { return Self.precedes(place, last) }
        return !Self.precedes(last, place)
      }
    }
    var page = StoredOffsetPage(groups: [], token: "")
    var count = 0
    for place in places {
      let isFull =
        breakage == .scanCountsGroups
        ? page.groups.count == limit && page.groups.last?.name != place.group : count == limit
      if isFull, let last = page.groups.last, let offset = last.offsets.last {
        page.token = "\(offset.partition.topic)/\(offset.partition.partition)/\(last.name)"
        if breakage == .scanByPosition || breakage == .scanInOrderOfCreation {
          page.token = "\((Int(token) ?? 0) + count)"
        }
        break
      }
      if page.groups.last.map({ Self.same($0.name, place.group) }) != true {
        page.groups.append(.init(name: place.group, offsets: []))
      }
      page.groups[page.groups.count - 1].offsets.append(contents.rows[place]!)  // a place of this very copy
      count += 1
    }
    return page
  }

  private static func precedes(_ a: Place, _ b: Place) -> Bool {
    let one = Array(a.group.utf8)
    let other = Array(b.group.utf8)
    return one == other ? a.partition < b.partition : one.lexicographicallyPrecedes(other)
  }

  func remove(_ group: GroupKey, _ partitions: [TopicPartition]?) async throws(Fault) {
    if breakage == .removesNothing { return }
    let anywhere = place(group, TopicPartition(topic: TopicID(high: 0, low: 0), partition: 0))
    var wanted = partitions.map { Set($0.map { place(group, $0).partition }) }
    if breakage == .takesNoPartitionsForAll, wanted?.isEmpty == true { wanted = nil }
    medium.contents.withLock { contents in
      var gone: Set<Place> = []
      for place in contents.rows.keys where place.tenant == anywhere.tenant {
        var isIt = Self.same(place.group, anywhere.group)
        if breakage == .removesOfOtherGroups { isIt = place.group.hasPrefix(anywhere.group) }
        if breakage == .removesWithPatterns, place.group.count == anywhere.group.count,
          zip(place.group, anywhere.group).allSatisfy({ $0 == $1 || $1 == "_" })
        {
          isIt = true
        }
        guard isIt, wanted?.contains(place.partition) ?? true else { continue }
        contents.rows[place] = nil
        gone.insert(place)
      }
      if !gone.isEmpty { contents.order.removeAll { gone.contains($0) } }
    }
  }
}
