import MetadataStore
import SkeinCore
import Testing

/// The kind of the error that `body` throws, which must be a definite one; records an issue if it
/// throws none.
func refusal(_ body: () async throws -> Void) async -> MetadataError.Kind? {
  do {
    try await body()
    Issue.record("was not refused")
  } catch let error as MetadataError {
    #expect(error.outcome == .definite, "\(error)")
    return error.kind
  } catch {
    Issue.record("an error of another type: \(error)")
  }
  return nil
}
