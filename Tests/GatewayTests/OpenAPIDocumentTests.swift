import Foundation
import SkeinCore
import Testing

@testable import Gateway

/// The served document, Docs/openapi.json and the tables are one thing. (`make proto` writes all of them;
/// `Deploy/generate-proto.sh --check` compares them with Proto/.)
@Suite struct OpenAPIDocumentTests {
  private static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func document(_ data: Data) throws -> NSDictionary {
    try #require(try JSONSerialization.jsonObject(with: data) as? NSDictionary)
  }

  @Test func servedAndCommittedAreEqual() throws {
    let committed = try Data(contentsOf: Self.root.appendingPathComponent("Docs/openapi.json"))
    #expect(try document(Data(Contract.openAPI.utf8)).isEqual(try document(committed)), "run `make proto`")
  }

  @Test func everyRouteIsDescribed() throws {
    let paths = try #require(try document(Data(Contract.openAPI.utf8))["paths"] as? [String: [String: Any]])
    var operations: Set<String> = []
    for (path, methods) in paths {
      for method in methods.keys { operations.insert("\(method.uppercased()) \(path)") }
    }
    var routes: Set<String> = ["GET /v1/openapi.json"]
    for route in RouteTable.standard.routes {
      let path = route.segments.map { segment in
        switch segment {
        case .literal(let text): "/" + text
        case .variable(let binding): "/{\(binding.name)}"
        }
      }.joined()
      routes.insert("\(route.method) \(path)")
    }
    #expect(operations == routes)
  }
}
