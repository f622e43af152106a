package import SkeinCore

/// A topic as the broker serves it: a snapshot, replaced whole when it changes.
package struct Topic: Sendable, Hashable {
  package let id: TopicID
  package let tenant: TenantName
  package let name: String
  package let partitions: Int32
  package let partitioner: BuiltInPartitioner
  /// {partitioner, version, config, partition count} changes raise it; the first is 1.
  package let generation: UInt32
  package let settings: TopicSettings
  /// What was set explicitly, for `Topics/Describe`.
  package let explicitSettings: [String: String]
  package let createdMilliseconds: Int64
  /// Of the topic's metadata record: the store's revision of its last change.
  package let revision: Int64
}

extension Topic {
  /// The topic with other settings, or with more partitions and so another generation; the store
  /// gives it its revision.
  func changed(settings: TopicSettings, explicit: [String: String]) -> Topic {
    with(partitions: partitions, generation: generation, settings, explicit, revision: revision)
  }

  func grown(to partitions: Int32) -> Topic {
    with(
      partitions: partitions, generation: generation &+ 1, settings, explicitSettings, revision: revision)
  }

  func at(revision: Int64) -> Topic {
    with(partitions: partitions, generation: generation, settings, explicitSettings, revision: revision)
  }

  private func with(
    partitions: Int32, generation: UInt32, _ settings: TopicSettings, _ explicit: [String: String],
    revision: Int64
  ) -> Topic {
    Topic(
      id: id, tenant: tenant, name: name, partitions: partitions, partitioner: partitioner,
      generation: generation, settings: settings, explicitSettings: explicit,
      createdMilliseconds: createdMilliseconds, revision: revision)
  }
}

/// A tenant's name, from the credential only, never from a request.
package struct TenantName: RawRepresentable, Sendable, Hashable, Comparable {
  package let rawValue: String
  package init(rawValue: String) { self.rawValue = rawValue }
  package static let `default` = TenantName(rawValue: "default")
  package static func < (a: TenantName, b: TenantName) -> Bool { a.rawValue < b.rawValue }
}
