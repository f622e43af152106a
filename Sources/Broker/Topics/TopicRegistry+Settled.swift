import SkeinCore

extension TopicRegistry {
  /// As `change`, but returns or throws only when it is known what became of it: for changes after which nothing
  /// may go on either way before that.
  /// - Parameter gaveUp: asked between two looks at the store; true throws the unknown outcome.
  /// - Throws: what is definite: nothing was changed.
  func changeSurely(
    _ old: Topic, to new: Topic, told: (Fault) -> Void, gaveUp: () -> Bool
  ) async throws -> Topic {
    let problem: Fault
    do {
      return try await change(old, to: new)
    } catch {
      problem = Fault(wrapping: error)
    }
    guard problem.reason.outcome == .unknown else { throw problem }
    told(problem)
    while !gaveUp() {
      do {
        guard let found = try await stored(old) else { throw Self.notFound(old.name) }
        // Alone in the topic's lane: nobody else could have made this generation.
        if found.generation == new.generation { return found }
        throw Fault(
          .conflict, "topic \"\(old.name)\" was not changed: \(problem.message)",
          metadata: ["topic": old.name])
      } catch {
        guard Fault(wrapping: error).reason.outcome == .unknown else { throw error }
        try? await Task.sleep(for: .milliseconds(100))
      }
    }
    throw problem
  }
}
