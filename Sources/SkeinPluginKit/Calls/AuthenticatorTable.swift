import CSkeinPlugin

/// An instance of an authenticator behind the ABI.
private final class AuthenticatorBox: Sendable {
  let authenticator: any Authenticator
  let calls: OpenCalls

  init(_ authenticator: any Authenticator, _ calls: OpenCalls) {
    self.authenticator = authenticator
    self.calls = calls
  }

  /// The box of an instance; the host holds it for the time of the call, a task holds what it needs itself.
  static func at(_ raw: UnsafeMutableRawPointer?) -> AuthenticatorBox? {
    raw.map { Unmanaged<AuthenticatorBox>.fromOpaque($0).takeUnretainedValue() }
  }
}

extension Peer {
  /// A copy of what the host lends.
  init(_ raw: UnsafePointer<skein_peer>?) {
    guard let raw else {
      self.init()
      return
    }
    let peer = adopt(UnsafeRawPointer(raw), zero: skein_peer())
    let chain = UnsafeBufferPointer(start: peer.chain, count: peer.chain == nil ? 0 : Int(peer.certificates))
    self.init(
      certificates: chain.map(\.copy), serverName: peer.server_name.text, address: peer.address.text,
      tlsExporter: peer.tls_exporter.copy)
  }
}

extension Plugin.Kind {
  // Written once, where `export` takes its arguments: before the host has the table that reads it.
  nonisolated(unsafe) private static var makeAuthenticator: ((PluginContext) throws -> any Authenticator)?

  static func authenticator(make: @escaping (PluginContext) throws -> any Authenticator) -> Plugin.Kind {
    makeAuthenticator = make
    var table = skein_authenticator()
    table.size = UInt32(MemoryLayout<skein_authenticator>.size)
    table.ops.create = { host, instance, config, out, why in
      Instances.create(host, instance, config, out, why) { context in
        guard let make = Plugin.Kind.makeAuthenticator else {
          throw PluginError.unsupported("no authenticator")
        }
        guard context.host.canComplete else {
          throw PluginError.unsupported("the host has no skein.host.async/1")
        }
        return AuthenticatorBox(try make(context), OpenCalls(host: context.host))
      }
    }
    table.ops.quiesce = { raw, done in AuthenticatorBox.at(raw)?.calls.quiesce(done) }
    table.ops.destroy = { Instances.destroy($0) }
    table.step = { raw, call, deadline, exchange, mechanism, peer, message in
      guard let box = AuthenticatorBox.at(raw) else { return }
      let authenticator = box.authenticator
      let step = AuthenticationStep(
        exchange: exchange, mechanism: mechanism.text, peer: Peer(peer), message: message.copy)
      box.calls.run(call, deadline) { call in
        let answer = try await authenticator.step(step, call)
        // A principal without a name would be nobody, and nobody is no client.
        if case .principal(let principal) = answer, principal.name.isEmpty {
          throw PluginError.failed("the authenticator answered a principal without a name")
        }
        return try answer.proto()
      }
    }
    table.end = { raw, exchange in AuthenticatorBox.at(raw)?.authenticator.end(exchange) }
    table.cancel = { raw, call in AuthenticatorBox.at(raw)?.calls.cancel(call) }
    return Plugin.Kind(SKEIN_AUTHENTICATOR, table)
  }
}
