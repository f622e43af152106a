package import SkeinCore

/// A topic as the broker serves it: a snapshot, replaced whole when it changes.
package struct Topic: Sendable, Hashable {
  package let id: TopicID
  package let tenant: TenantName
  package let name: String
  /// Its partitioner's generations, oldest first, the one in force last; at most 16, never none. Behind one
  /// reference, because snapshots are copied by every request.
  package let generations: [TopicGeneration]
  /// Of the generation in force.
  package let partitions: Int32
  /// {partitioner, version, config, partition count} changes raise it; the first is 1.
  package let generation: UInt32
  /// The partitioner in force; nil: a plug-in, which only `Partitioning` has.
  package let builtIn: BuiltInPartitioner?
  package let settings: TopicSettings
  /// What was set explicitly, for `Topics/Describe`.
  package let explicitSettings: [String: String]
  package let createdMilliseconds: Int64
  /// Of the topic's metadata record: the store's revision of its last change.
  package let revision: Int64

  init(
    id: TopicID, tenant: TenantName, name: String, earlier: [TopicGeneration] = [],
    current: TopicGeneration, settings: TopicSettings, explicitSettings: [String: String],
    createdMilliseconds: Int64, revision: Int64
  ) {
    self.id = id
    self.tenant = tenant
    self.name = name
    generations = TopicGeneration.trimmed(earlier + [current])
    partitions = current.partitions
    generation = current.number
    builtIn = current.binding.builtIn
    self.settings = settings
    self.explicitSettings = explicitSettings
    self.createdMilliseconds = createdMilliseconds
    self.revision = revision
  }
}

extension Topic {
  /// A topic with a built-in partitioner and no past.
  init(
    id: TopicID, tenant: TenantName, name: String, partitions: Int32, partitioner: BuiltInPartitioner,
    generation: UInt32, settings: TopicSettings, explicitSettings: [String: String],
    createdMilliseconds: Int64, revision: Int64
  ) {
    self.init(
      id: id, tenant: tenant, name: name,
      current: TopicGeneration(
        generation, TopicBinding(partitioner), partitions: partitions, since: createdMilliseconds),
      settings: settings, explicitSettings: explicitSettings, createdMilliseconds: createdMilliseconds,
      revision: revision)
  }

  /// The generation in force.
  package var current: TopicGeneration {
    // `init` puts one in.
    generations[generations.count - 1]
  }

  /// The newest generation before the one in force that places records otherwise: what a rollback restores.
  package var earlierGeneration: TopicGeneration? {
    generations.last { !$0.binding.placesLike(current.binding) && $0.number < generation }
  }

  /// The topic with other settings; the store gives it its revision.
  func changed(settings: TopicSettings, explicit: [String: String]) -> Topic {
    with(generations, settings, explicit, revision: revision)
  }

  /// The topic with more partitions, and so another generation of the same binding.
  func grown(to partitions: Int32, at milliseconds: Int64) -> Topic {
    var next = current
    next.number &+= 1
    next.binding = current.binding.grown(from: self.partitions, to: partitions)
    next.partitions = partitions
    next.sinceMilliseconds = milliseconds
    next.isFenced = false
    next.cuts = []
    next.rollsBackTo = 0
    next.reason = ""
    var earlier = generations
    earlier[earlier.count - 1].watchedUntilMilliseconds = 0
    return with(earlier + [next], settings, explicitSettings, revision: revision)
  }

  /// The topic with another generation in force.
  func succeeded(by next: TopicGeneration) -> Topic {
    var earlier = generations
    earlier[earlier.count - 1].watchedUntilMilliseconds = 0
    return with(earlier + [next], settings, explicitSettings, revision: revision)
  }

  func at(revision: Int64) -> Topic {
    with(generations, settings, explicitSettings, revision: revision)
  }

  private func with(
    _ generations: [TopicGeneration], _ settings: TopicSettings, _ explicit: [String: String],
    revision: Int64
  ) -> Topic {
    Topic(
      id: id, tenant: tenant, name: name, earlier: Array(generations.dropLast()),
      current: generations[generations.count - 1], settings: settings, explicitSettings: explicit,
      createdMilliseconds: createdMilliseconds, revision: revision)
  }
}

/// A tenant's name, from the credential only, never from a request.
package struct TenantName: RawRepresentable, Sendable, Hashable, Comparable {
  package let rawValue: String
  package init(rawValue: String) { self.rawValue = rawValue }
  /// The broker's own: no credential names it, so that nobody reads, writes or deletes what is in it.
  package static let system = TenantName(rawValue: "system")
  package static let `default` = TenantName(rawValue: "default")
  package static func < (a: TenantName, b: TenantName) -> Bool { a.rawValue < b.rawValue }
}
