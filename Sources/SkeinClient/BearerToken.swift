import Transport

/// The token with which a client without a certificate says who it is (`skein token create` makes one), for a broker's
/// `token-listen`. It is sent with every call, over TLS only, and prints as a placeholder wherever it is shown.
public struct BearerToken: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
  private enum Source {
    case file(String)
    case value(String)
  }
  private let source: Source

  /// The path of a file with the token in one line. It is read again when it changes, so that a token is replaced
  /// without a restart: two of a principal are good at the same time.
  public static func file(_ path: String) -> BearerToken { BearerToken(source: .file(path)) }

  /// The token itself. It is best read from where secrets are kept, never from a command line or environment.
  public static func value(_ token: String) -> BearerToken { BearerToken(source: .value(token)) }

  public var description: String {
    switch source {
    case .file(let path): "the token of \(path) (not shown)"
    case .value: "a token (not shown)"
    }
  }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }

  /// For the transport.
  /// - Throws: INVALID_REQUEST when it is no token. A file is read at the first connection.
  func forCalls() throws(SkeinError) -> CallToken {
    switch source {
    case .file(let path): return CallToken(file: path)
    case .value(let text):
      do throws(TLSConfigurationError) {
        return try CallToken(value: text)
      } catch {
        throw SkeinError(.invalidRequest, "ClientConfiguration.token: \(error)")
      }
    }
  }
}
