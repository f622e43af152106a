/// The contract as the door needs it; its tables follow from `Proto/` (`Generated/Contract+Tables.swift`):
/// `rpc` lines give the methods, `HTTP:` lines in their comments the routes.
enum Contract {}

/// One RPC. A plain value.
struct RPCMethod: Sendable, Hashable {
  /// `skein.v1.Topics/Create`
  let name: String
  /// Full names of the messages.
  let input: String
  let output: String
  /// Streams need gRPC.
  let isUnary: Bool

  init(_ name: String, _ input: String, _ output: String, isUnary: Bool) {
    self.name = name
    self.input = input
    self.output = output
    self.isUnary = isUnary
  }
}
