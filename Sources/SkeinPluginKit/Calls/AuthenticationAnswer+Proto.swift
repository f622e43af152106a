import CProtobufC
import CSkeinPluginProto

extension AuthenticationAnswer {
  /// The encoded `skein.plugin.v1.AuthenticateResult`.
  func proto() throws -> [UInt8] {
    let arena = ProtoArena()
    var message = Skein__Plugin__V1__AuthenticateResult()
    skein__plugin__v1__authenticate_result__init(&message)
    switch self {
    case .principal(let principal):
      message.tenant = try arena.text(principal.tenant)
      message.principal = try arena.text(principal.name)
      message.n_groups = principal.groups.count
      message.groups = arena.array(try principal.groups.map { Optional(try arena.text($0)) })
      message.expires_ms = principal.expiresMilliseconds ?? 0
    case .challenge(let bytes):
      message.challenge = ProtobufCBinaryData(len: bytes.count, data: arena.array(bytes))
    }
    return withExtendedLifetime(arena) { ProtoArena.encode(&message) }
  }
}
