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
}

/// A tenant's name, from the credential only, never from a request.
package struct TenantName: RawRepresentable, Sendable, Hashable, Comparable {
  package let rawValue: String
  package init(rawValue: String) { self.rawValue = rawValue }
  package static let `default` = TenantName(rawValue: "default")
  package static func < (a: TenantName, b: TenantName) -> Bool { a.rawValue < b.rawValue }
}
