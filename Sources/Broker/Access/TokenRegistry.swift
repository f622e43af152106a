import MetadataStore
import SkeinCore
import Synchronization
import Wire

/// The bearer tokens of the broker's principals: a snapshot of the metadata store, changed there first.
///
/// Keys: `/skein/<cluster>/t/<tenant>/tokens/<id>`. One broker writes them: changes pass one at a time here, which
/// is what keeps the limits. Threading: lookups from any thread; changes from any task.
final class TokenRegistry: Sendable {
  /// Live tokens in all: what an authenticator is given at once, of at most 300 bytes each, and a configuration may
  /// have 1 MiB.
  static let maximumTokens = 3_000
  /// Of one principal: the one in use and the one that replaces it.
  static let maximumPerPrincipal = 2
  static let lifetimes: ClosedRange<Int64> = 60_000...31_622_400_000
  static let standardLifetime: Int64 = 7_776_000_000
  static let maximumNote = 100

  /// Tokens at one moment.
  struct Snapshot: Sendable {
    /// Rises with every change.
    var version = 0
    /// The version that last took a token away.
    var lastRemoval = 0
    var tokens: [String: AccessToken] = [:]
  }

  private let store: any MetadataStore
  private let keys: MetadataKeys
  private let time: any TimeSource
  private let random: any RandomSource
  private let state = Mutex(Snapshot())
  private let lanes = TopicLanes()
  private static let lane = TopicLanes.Key(tenant: .default, name: "tokens")

  init(
    store: any MetadataStore, keys: MetadataKeys, time: any TimeSource, random: any RandomSource
  ) {
    self.store = store
    self.keys = keys
    self.time = time
    self.random = random
  }

  var snapshot: Snapshot { state.withLock { $0 } }

  /// Live ones, in the order in which they were made.
  func list(of tenant: TenantName, principal: String) -> [AccessToken] {
    let now = time.wallMilliseconds
    return snapshot.tokens.values.filter {
      $0.tenant == tenant && (principal.isEmpty || $0.principal == principal) && $0.isLive(at: now)
    }.sorted { ($0.createdMilliseconds, $0.id) < ($1.createdMilliseconds, $1.id) }
  }

  // MARK: Changes

  /// Reads every token; once, before the listener starts.
  func load() async throws {
    var loaded: [String: AccessToken] = [:]
    let all = KeyRange.prefix(keys.tenants)
    var from = keys.tenants
    while true {
      let range: KeyRange
      switch all.end {
      case .below(let end): range = .from(from, below: end)
      case .single, .unbounded: range = .from(from)
      }
      let page = try await store.range(RangeRequest(range, limit: 1_000))
      for pair in page.keyValues {
        guard let (tenant, id) = keys.parseToken(pair.key) else { continue }
        loaded[id] = try Self.decode(pair.value, tenant: tenant, id: id)
      }
      guard page.more, let last = page.keyValues.last else { break }
      from = last.key + [0]
    }
    state.withLock { $0 = Snapshot(version: 1, lastRemoval: 0, tokens: loaded) }
  }

  /// Commits a new token; its text is in the answer and nowhere else.
  /// - Throws: `TOKEN_LIMIT`, `METADATA_UNAVAILABLE`.
  func create(
    principal: String, of tenant: TenantName, lifetime: Int64, note: String, by creator: String
  ) async throws -> NewToken {
    try await lanes.alone(in: Self.lane) {
      let now = time.wallMilliseconds
      let known = snapshot.tokens.values
      let own = known.filter { $0.tenant == tenant && $0.principal == principal }
      try Self.check(
        own.count { $0.isLive(at: now) }, Self.maximumPerPrincipal,
        "principal \"\(principal)\" has \(Self.maximumPerPrincipal) live tokens; revoke one with `skein token revoke`, or wait until one expires"
      )
      try Self.check(
        known.count { $0.isLive(at: now) }, Self.maximumTokens,
        "there are \(Self.maximumTokens) live tokens, as many as an authenticator is given; revoke some first"
      )
      guard let secret = TokenSecret(from: random) else {
        throw Fault(.internalError, "no token could be made: libcrypto has no memory")
      }
      let token = AccessToken(
        id: secret.id, tenant: tenant, principal: principal, secretHash: secret.hash,
        createdMilliseconds: now, expiresMilliseconds: now + lifetime, createdBy: creator, note: note)
      let ended = own.filter { !$0.isLive(at: now) }
      let key = keys.token(token.id, of: tenant)
      let result = try await commit(
        Transaction(
          if: [.absent(key)],
          then: [.put(key: key, value: Self.encode(token))]
            + ended.map { .delete(.key(keys.token($0.id, of: tenant))) }))
      guard result.succeeded else {
        throw Fault(.conflict, "a token with this id exists; nothing was made; try again")
      }
      state.withLock { state in
        state.tokens[token.id] = token
        for token in ended { state.tokens[token.id] = nil }
        state.version += 1
      }
      return NewToken(text: secret.text, token: token)
    }
  }

  /// Commits the end of a token. Throws `TOKEN_NOT_FOUND`, the same for another tenant's and for nobody's.
  func revoke(_ id: String, of tenant: TenantName) async throws -> AccessToken {
    try await lanes.alone(in: Self.lane) {
      guard let token = snapshot.tokens[id], token.tenant == tenant else {
        throw Fault(
          .tokenNotFound, "no token \"\(id.displayable)\"; `skein token list` shows those that there are",
          metadata: ["token_id": id.displayable])
      }
      _ = try await commit(Transaction(then: [.delete(.key(keys.token(id, of: tenant)))]))
      state.withLock { state in
        state.tokens[id] = nil
        state.version += 1
        state.lastRemoval = state.version
      }
      return token
    }
  }

  /// Forgets expired tokens, which nobody is let in with any more.
  func removeExpired() async throws {
    try await lanes.alone(in: Self.lane) {
      let now = time.wallMilliseconds
      let ended = snapshot.tokens.values.filter { !$0.isLive(at: now) }.prefix(100)
      guard !ended.isEmpty else { return }
      _ = try await commit(
        Transaction(then: ended.map { .delete(.key(keys.token($0.id, of: $0.tenant))) }))
      state.withLock { state in for token in ended { state.tokens[token.id] = nil } }
    }
  }

  private static func check(_ count: Int, _ limit: Int, _ message: String) throws(Fault) {
    guard count >= limit else { return }
    throw Fault(.tokenLimit, message, metadata: ["limit": String(limit)])
  }

  private func commit(_ transaction: Transaction) async throws(Fault) -> TransactionResult {
    do {
      return try await store.transact(transaction)
    } catch {
      throw error.fault
    }
  }

  // MARK: The stored form

  static let recordFormat: UInt32 = 1

  private static func encode(_ token: AccessToken) -> [UInt8] {
    TokenRecord(
      format: recordFormat, principal: token.principal, secretSha256: token.secretHash,
      createdMs: token.createdMilliseconds, expiresMs: token.expiresMilliseconds,
      createdBy: token.createdBy, note: token.note
    ).encoded()
  }

  private static func decode(_ bytes: [UInt8], tenant: TenantName, id: String) throws -> AccessToken {
    let record = try TokenRecord(decoding: SharedBytes(bytes))
    guard record.format == recordFormat, record.secretSha256.count == 32 else {
      throw Fault(
        .internalError,
        "the metadata record of token \"\(id.displayable)\" (format \(record.format)) cannot be read by this version; start the version that wrote it"
      )
    }
    return AccessToken(
      id: id, tenant: tenant, principal: record.principal, secretHash: record.secretSha256,
      createdMilliseconds: record.createdMs, expiresMilliseconds: record.expiresMs,
      createdBy: record.createdBy, note: record.note)
  }
}
