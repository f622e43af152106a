import Foundation
import SkeinCore
import Testing

/// Documents that restate code are generated from it and compared with it.
///
/// `SKEIN_WRITE_DOCS=1 swift test --filter DocumentTests` (that is `make docs`) writes them anew.
@Suite struct DocumentTests {
  private static let isWriting = ProcessInfo.processInfo.environment["SKEIN_WRITE_DOCS"] == "1"

  @Test func errorPageListsTheCatalogue() throws {
    let page = ErrorPage.render(Reason.catalogue)
    if Self.isWriting {
      try page.write(
        to: Repository.root.appendingPathComponent("Docs/errors.md"), atomically: true, encoding: .utf8)
    }
    let found = ErrorPage.differences(page: try Repository.text("Docs/errors.md"), from: Reason.catalogue)
    #expect(found.isEmpty, "run `make docs`: \(violationList(found))")
  }

  @Test func catalogueIsConsistent() {
    let names = Reason.catalogue.map(\.name)
    #expect(Set(names).count == names.count)
    for reason in Reason.catalogue {
      #expect(reason.name.wholeMatch(of: /[A-Z][A-Z0-9]*(_[A-Z0-9]+)*/) != nil, "\(reason.name)")
      #expect(Reason.named(reason.name) == reason)
      #expect(!reason.meaning.isEmpty && !reason.meaning.contains("|"), "\(reason.name)")
    }
  }

  @Test func refusesAPageThatDiffers() {
    let catalogue = Reason.catalogue
    let page = ErrorPage.render(catalogue)
    #expect(ErrorPage.differences(page: page, from: catalogue).isEmpty)
    let shorter = ErrorPage.render(Array(catalogue.dropLast()))
    #expect(ErrorPage.differences(page: shorter, from: catalogue).count == 1)
    #expect(ErrorPage.differences(page: page, from: Array(catalogue.dropFirst())).count == 1)
    let wrong = page.replacing("| NOT_FOUND | definite", with: "| NOT_FOUND | unknown")
    #expect(ErrorPage.differences(page: wrong, from: catalogue).count > 1)
  }
}

/// Docs/errors.md: a head and one row a reason.
enum ErrorPage {
  static func render(_ catalogue: [Reason]) -> String {
    head + catalogue.map(row).joined(separator: "\n") + "\n"
  }

  static func differences(page: String, from catalogue: [Reason]) -> [Violation] {
    let written = Set(page.split(separator: "\n").map(String.init).filter { $0.hasPrefix("| `") })
    let expected = Set(catalogue.map(row))
    return expected.subtracting(written).sorted().map {
      Violation(place: "Docs/errors.md", message: "lacks \($0)")
    }
      + written.subtracting(expected).sorted().map {
        Violation(place: "Docs/errors.md", message: "has a row that the catalogue lacks: \($0)")
      }
  }

  private static func row(_ reason: Reason) -> String {
    let outcome = reason.outcome == .definite ? "definite" : "unknown"
    let retry = reason.retriable ? "yes" : "no"
    return "| `\(reason.name)` | \(reason.code.name) | \(outcome) | \(retry) | \(reason.meaning) |"
  }

  private static let head = """
    # Errors

    Every refusal is a `google.rpc.Status`: in `grpc-status-details-bin` when it ends a call, in an `error` field when
    it concerns one item of a call that goes on. It carries `ErrorInfo{reason, domain: "skein", metadata}` with a reason of this
    table, and `BadRequest` (every wrong field at once), `RetryInfo` (how long to wait), `ResourceInfo` (what it is about) or
    `QuotaFailure` (which limit) where they apply; long lists are cut to what stock clients take. The message names
    the thing, the limit, the value and the cure; programs read `reason` and `metadata`, never the message.

    **Outcome**: *definite* means that nothing was applied; *unknown* means that it may have been, so that only an idempotent
    retry may follow. **Retry**: whether the same request may succeed later without a change.

    [conformance.md](conformance.md#what-malformed-requests-get) lists what a request gets that is malformed before any method looks at it.

    This page is generated from `Sources/SkeinCore/Reason+Catalogue.swift` (`make docs`); a test keeps both equal.

    | reason | gRPC code | outcome | retry | what it means, what to do |
    |---|---|---|---|---|

    """
}
