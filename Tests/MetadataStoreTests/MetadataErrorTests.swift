import MetadataStore
import SkeinCore
import Testing

struct MetadataErrorTests {
  /// A client is told "definite" only of what is (R42).
  @Test func faultsNeverClaimMoreThanIsKnown() {
    func reason(_ kind: MetadataError.Kind, _ outcome: Reason.Outcome = .definite) -> Reason {
      MetadataError(kind, "x", outcome: outcome).fault.reason
    }
    #expect(reason(.noSpace) == .diskFull)
    #expect(reason(.overloaded) == .overloaded)
    #expect(reason(.closed) == .draining)
    #expect(reason(.offline) == .metadataUnavailable)
    #expect(reason(.duplicateKey) == .internalError)
    for kind: MetadataError.Kind in [.noSpace, .overloaded, .closed, .offline, .unavailable, .unreadable] {
      #expect(reason(kind, .unknown).outcome == .unknown)
    }
  }
}
