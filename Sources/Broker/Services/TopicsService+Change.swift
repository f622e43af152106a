import Logging
import SkeinCore
import Wire

/// Changes of a live topic.
extension TopicsService {
  /// Names that one Update may carry.
  static let maximumSettings = 64

  // MARK: Settings

  @Sendable func update(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try UpdateTopicRequest(decoding: message)
    return try await context.registry.alone(request.name, of: principal.tenant) {
      let old = try context.registry.topic(request.name, of: principal.tenant)
      let new = try Self.updated(old, request)
      try TopicRegistry.check(expected: request.expectedRevision, old)
      guard new.explicitSettings != old.explicitSettings else {
        return UpdateTopicResponse(topic: TopicSummary(old)).encoded()
      }
      let changed = SettingDescription.differences(from: old, to: new)
      if request.validateOnly {
        return UpdateTopicResponse(topic: TopicSummary(new), settings: changed).encoded()
      }
      let committed = try await context.registry.change(old, to: new)
      context.audit(
        "topic settings changed", by: principal,
        [
          "topic": old.name, "revision": "\(committed.revision)",
          "settings": changed.map { "\($0.name)=\($0.value)" }.joined(separator: " "),
        ])
      // Lookups first: min.acks and max.message.bytes must not promise more than was committed.
      context.registry.publish(committed)
      try await context.apply(committed.settings, to: old)
      return UpdateTopicResponse(topic: TopicSummary(committed), settings: changed).encoded()
    }
  }

  /// The topic as the request wants it.
  /// - Throws: `INVALID_REQUEST` with every problem.
  private static func updated(_ topic: Topic, _ request: UpdateTopicRequest) throws(Fault) -> Topic {
    var violations: [Fault.FieldViolation] = []
    let count = request.set.count + request.reset.count
    if !(1...maximumSettings).contains(count) {
      violations.append(
        .init(field: "set", description: "\(count) settings in `set` and `reset`; 1 to \(maximumSettings)"))
    }
    // On its own, so that what a newer broker stored here is not this request's fault.
    _ = TopicSettings(explicit: request.set, field: "set", violations: &violations)
    var explicit = topic.explicitSettings.merging(request.set) { $1 }
    for (index, name) in request.reset.enumerated() {
      if TopicSettings.definition(name) == nil {
        violations.append(
          .init(
            field: "reset[\(index)]",
            description: "\"\(name.displayable)\": \(TopicSettings.whyNoSetting(name))"))
      } else if request.set[name] != nil {
        violations.append(
          .init(field: "reset[\(index)]", description: "\(name) is also in `set`; choose one"))
      }
      explicit[name] = nil
    }
    if request.expectedRevision < 0 {
      violations.append(
        .init(
          field: "expected_revision", description: "\(request.expectedRevision) is negative; 0 = not checked")
      )
    }
    let settings =
      violations.isEmpty ? TopicSettings(explicit: explicit, violations: &violations) : topic.settings
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "topic \"\(topic.name)\" was not changed: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        metadata: ["topic": topic.name], violations: violations)
    }
    return topic.changed(settings: settings, explicit: explicit)
  }

  // MARK: Partitions

  @Sendable func addPartitions(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try AddPartitionsRequest(decoding: message)
    return try await context.registry.alone(request.name, of: principal.tenant) {
      let old = try context.registry.topic(request.name, of: principal.tenant)
      try TopicRegistry.check(expected: request.expectedRevision, old)
      let most = TopicName.partitionRange.upperBound
      guard request.partitions > old.partitions, request.partitions <= most else {
        let why =
          "topic \"\(old.name)\" has \(old.partitions) partitions and can only grow, to at most \(most); \(request.partitions) is not possible"
        throw Fault(
          .invalidRequest, why, metadata: ["topic": old.name, "partitions": String(old.partitions)],
          violations: [
            .init(
              field: "partitions",
              description: "\(request.partitions) is outside \(old.partitions + 1) to \(most)")
          ])
      }
      let new = old.grown(to: request.partitions, at: context.time.wallMilliseconds)
      if request.validateOnly { return AddPartitionsResponse(topic: TopicSummary(new)).encoded() }
      let committed = try await context.registry.change(old, to: new)
      context.audit(
        "partitions added", by: principal,
        [
          "topic": old.name, "from": "\(old.partitions)", "to": "\(new.partitions)",
          "generation": "\(new.generation)", "revision": "\(committed.revision)",
        ])
      // The new generation is announced once the new partitions are served: who partitions under it
      // finds them.
      context.partitioning.inherit(committed, from: old)
      defer {
        context.registry.publish(committed)
        context.partitioning.retire(before: committed)
      }
      try await open(committed, from: old.partitions)
      return AddPartitionsResponse(topic: TopicSummary(committed)).encoded()
    }
  }
}

extension SettingDescription {
  /// The settings whose value or source differs, as they are in `new`.
  fileprivate static func differences(from old: Topic, to new: Topic) -> [SettingDescription] {
    zip(all(of: old), all(of: new)).compactMap { $0 == $1 ? nil : $1 }
  }
}
