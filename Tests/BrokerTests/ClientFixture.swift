import Broker
import SkeinClient
import Testing
import Transport

/// The SDK against a broker in the test process.
extension TestBroker {
  /// A client of the administrator, or of whom `name` says.
  func client(
    _ name: String = "admin", port: Int? = nil, patience: Duration = .seconds(20)
  ) throws -> Client {
    let tls = try issuer.client(name)
    var configuration = ClientConfiguration(
      address: "127.0.0.1:\(port ?? self.port)",
      tls: TLSIdentity(
        ca: PEM(tls.trustRoots), certificate: PEM(tls.certificateChain), key: PEM(tls.privateKey)))
    configuration.unreachableTimeout = patience
    return try Client(configuration)
  }
}

extension PEM {
  init(_ source: PEMSource?) {
    switch source {
    case .file(let path)?: self = .file(path)
    case .bytes(let bytes)?: self = .bytes(bytes)
    case nil: self = .bytes([])
    }
  }
}

/// Text and bytes.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }

extension Reader {
  /// Everything until the reader ends.
  func all() async throws -> [ConsumedRecord] {
    var found: [ConsumedRecord] = []
    for try await record in records { found.append(record) }
    return found
  }
}

/// A reader's configuration that ends at what is there.
var toTheEnd: ReaderConfiguration {
  var configuration = ReaderConfiguration()
  configuration.stopsAtEnd = true
  return configuration
}

/// Expects a `SkeinError` of that reason.
func expect(
  reason: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async {
  do {
    try await body()
    Issue.record("nothing was thrown, expected \(reason)", sourceLocation: sourceLocation)
  } catch let error as SkeinError {
    #expect(error.reason == reason, "\(error)", sourceLocation: sourceLocation)
  } catch {
    Issue.record("\(error) is not a SkeinError", sourceLocation: sourceLocation)
  }
}
