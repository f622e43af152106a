import MetadataStore
import Testing

/// What every metadata store does, on each of them. Serialized, because tests look at the revision
/// of the whole store and all tests on etcd share one server.
@Suite(.serialized, .timeLimit(.minutes(1)))
struct ConformanceTests {
  func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  func isCompacted(_ kind: MetadataError.Kind?) -> Bool {
    if case .compacted = kind { true } else { false }
  }
}
