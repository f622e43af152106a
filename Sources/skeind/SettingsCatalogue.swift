import SkeinCore

/// Every setting of the broker: the one list behind parsing, `check-config` and Docs/settings.md.
struct SettingDefinition: Sendable {
  enum Kind: Sendable {
    case text
    /// Empty means none.
    case optional
    case address
    /// Empty means none.
    case optionalAddress
    case integer(ClosedRange<Int64>)
    case choice([String])
  }

  let key: String
  let kind: Kind
  /// Nil: must be given (with --dev, the development folder gives it).
  let standard: String?
  let meaning: String

  /// What is allowed, in words.
  var allowed: String {
    switch kind {
    case .text: "a non-empty text"
    case .optional: "a text, or empty for none"
    case .address: "host:port, port 0 to 65535"
    case .optionalAddress: "host:port, port 0 to 65535, or empty for none"
    case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
    case .choice(let values): values.joined(separator: ", ")
    }
  }

  func accepts(_ value: String) -> Bool {
    switch kind {
    case .text: !value.isEmpty
    case .optional: true
    case .address: HostPort(value) != nil
    case .optionalAddress: value.isEmpty || HostPort(value) != nil
    case .integer(let range): Int64(value).map(range.contains) ?? false
    case .choice(let values): values.contains(value)
    }
  }

  /// The nearest allowed word.
  func hint(for value: String) -> String {
    guard case .choice(let values) = kind else { return "" }
    return NearestWord.hint(for: value, in: values)
  }

  /// As an environment variable, e.g. `SKEIN_DATA_DIRECTORY`.
  var variable: String {
    "SKEIN_" + key.uppercased().map { $0 == "." || $0 == "-" ? "_" : String($0) }.joined()
  }

  static let all: [SettingDefinition] = [
    .init(
      key: "data.directory", kind: .text, standard: nil, meaning: "Where journal, segments and metadata live."
    ),
    .init(key: "listen", kind: .address, standard: "127.0.0.1:7600", meaning: "gRPC over TLS."),
    .init(
      key: "operations", kind: .address, standard: "127.0.0.1:7601",
      meaning: "/healthz, /readyz and /metrics over HTTP; /metrics names topics, so keep it on loopback."),
    .init(
      key: "tls.certificate", kind: .text, standard: nil,
      meaning: "File: the server's certificate, then intermediates (PEM)."),
    .init(
      key: "tls.key", kind: .text, standard: nil,
      meaning: "File: the server's private key (PEM, P-256 recommended)."),
    .init(
      key: "tls.client-authorities", kind: .text, standard: nil,
      meaning: "File: the authorities that sign client certificates (PEM)."),
    .init(
      key: "tls.additional-certificates", kind: .optional, standard: "",
      meaning:
        "Files: further certificates for other names, chosen by SNI, as certificate:key with commas between the pairs."
    ),
    .init(
      key: "tls.revocations", kind: .optional, standard: "",
      meaning:
        "File: revocation lists (PEM), a current one for each client authority. A client on a list is refused, and cut when it is connected."
    ),
    .init(
      key: "tls.watch-ms", kind: .integer(0...3_600_000), standard: "10000",
      meaning:
        "Time between two looks at the tls files, in milliseconds; a change is loaded, all or nothing, without dropping connections. 0 = only on SIGHUP."
    ),
    .init(
      key: "cluster.id", kind: .text, standard: "local",
      meaning: "Name of the cluster; a data directory of another one is refused."),
    .init(key: "broker.id", kind: .integer(1...1_000_000), standard: "1", meaning: "Number of this broker."),
    .init(
      key: "event-loops", kind: .integer(0...256), standard: "0",
      meaning: "Event loop threads; 0 = one per core but one, which the log's threads need (ADR 0007)."),
    .init(
      key: "memory.budget-bytes", kind: .integer(67_108_864...1_099_511_627_776), standard: "536870912",
      meaning: "What buffers for clients may hold at once, in bytes; beyond it clients are throttled."),
    .init(
      key: "http2.stream-window-bytes", kind: .integer(65_535...1_073_741_824), standard: "16777216",
      meaning:
        "What a client may send on one stream before the broker has answered it, in bytes, once authenticated; charged to the memory budget (ADR 0006)."
    ),
    .init(
      key: "http2.connection-window-bytes", kind: .integer(65_535...1_073_741_824), standard: "33554432",
      meaning: "The same for a connection; returned as bytes arrive, until 64 MiB are unanswered."),
    .init(
      key: "http2.max-connection-age-ms", kind: .integer(0...31_536_000_000), standard: "0",
      meaning:
        "Age at which a connection is drained, spread by a tenth, so that clients spread anew, in milliseconds. 0 = none."
    ),
    .init(
      key: "http2.max-stream-age-ms", kind: .integer(0...31_536_000_000), standard: "0",
      meaning:
        "Age at which a stream is told to go away and open again, spread by a tenth, in milliseconds. 0 = none."
    ),
    .init(
      key: "http2.min-bytes-per-second", kind: .integer(1...1_000_000), standard: "256",
      meaning:
        "The least rate at which a message must arrive once it has begun, and at which waiting answers must be read."
    ),
    .init(
      key: "http2.unread-ms", kind: .integer(1_000...86_400_000), standard: "300000",
      meaning: "How long answers may wait below that rate before their call is ended, in milliseconds."),
    .init(
      key: "journal.bytes", kind: .integer(67_108_864...68_719_476_736), standard: "268435456",
      meaning: "Size of the journal ring, in bytes. Takes effect when the directory is made."),
    .init(
      key: "disk.reserve-bytes", kind: .integer(0...1_099_511_627_776), standard: "1073741824",
      meaning: "Produce is refused while less than this is free, in bytes."),
    .init(
      key: "drain.ms", kind: .integer(0...600_000), standard: "10000",
      meaning: "How long a stop waits for open calls, in milliseconds."),
    .init(
      key: "maintenance.ms", kind: .integer(100...3_600_000), standard: "5000",
      meaning: "Time between two rounds of retention and checkpoint, in milliseconds."),
    .init(
      key: "scrub.bytes-per-second", kind: .integer(0...1_073_741_824), standard: "4194304",
      meaning: "How fast sealed segments are read again and verified, in bytes a second; 0 = never."),
    .init(
      key: "scrub.interval-ms", kind: .integer(1_000...31_536_000_000), standard: "86400000",
      meaning: "Time from the beginning of one round of that to the next, at least, in milliseconds."),
    .init(
      key: "compaction.memory", kind: .integer(16_777_216...4_294_967_296), standard: "67108864",
      meaning:
        "Memory for the keys of one compaction, in bytes; one runs at a time. With more different keys than it holds, a partition takes several rounds."
    ),
    .init(
      key: "compaction.bytes-per-second", kind: .integer(0...4_294_967_296), standard: "67108864",
      meaning: "How fast compaction may read and write, together, in bytes a second; 0 = never."),
    .init(
      key: "compaction.interval-ms", kind: .integer(100...3_600_000), standard: "15000",
      meaning: "How long compaction rests when no partition is due, in milliseconds."),
    .init(
      key: "token-listen", kind: .optionalAddress, standard: "",
      meaning:
        "gRPC over TLS for callers without a client certificate: each call shows a bearer token, which token-authenticator judges. Empty = none."
    ),
    .init(
      key: "token-authenticator", kind: .optional, standard: "",
      meaning:
        "ID@VERSION of the installed plug-in that judges those tokens; needed with token-listen. While it does not answer nobody is let in there."
    ),
    .init(
      key: "offset-stores", kind: .optional, standard: "",
      meaning:
        "Offset stores in plug-ins: NAME=ID@VERSION:FILE, separated by commas; FILE is the plug-in's configuration (JSON), readable by the broker's user only."
    ),
    .init(
      key: "groups.offset-store", kind: .text, standard: "log",
      meaning:
        "In which store new consumer groups keep their offsets: log, sqlite, or a name of offset-stores. Tenants and groups can be given another (`skein group`)."
    ),
    .init(
      key: "plugins.allow-dev", kind: .choice(["false", "true"]), standard: "false",
      meaning:
        "true: plug-ins that nobody signed may be installed and used, for their authors; they are shown as dev."
    ),
    .init(
      key: "plugins.release-key", kind: .optional, standard: "",
      meaning:
        "File: the public key (PEM, Ed25519) of Skein's own plug-ins; what it signed is verified, what an operator's key signed is trusted."
    ),
    .init(
      key: "plugins.host-program", kind: .optional, standard: "",
      meaning:
        "File: the program in which plug-ins run outside the broker; empty = skein-plugin-host beside skeind."
    ),
    .init(
      key: "plugins.child-user-id", kind: .integer(0...4_294_967_294), standard: "0",
      meaning:
        "User and group number that children with plug-ins become, where the broker runs as root; 0 = the broker's own."
    ),
    .init(
      key: "plugins.watch-ms", kind: .integer(0...86_400_000), standard: "300000",
      meaning:
        "How long a topic's new partitioner is watched, and rolled back by itself when it is bad, in milliseconds; 0 = not at all."
    ),
    .init(
      key: "groups.session-ms", kind: .integer(1_000...3_600_000), standard: "45000",
      meaning:
        "Silence after which a member of a consumer group is removed and its partitions are given to others, in milliseconds."
    ),
    .init(
      key: "groups.reconnect-grace-ms", kind: .integer(0...600_000), standard: "6000",
      meaning:
        "How long the partitions of a member wait for it when its stream broke (its process ended, the network was cut), in milliseconds."
    ),
    .init(
      key: "groups.heartbeat-ms", kind: .integer(100...600_000), standard: "5000",
      meaning:
        "How often members are told to send a heartbeat, in milliseconds; at most half of groups.session-ms."
    ),
    .init(
      key: "groups.max-uncommitted", kind: .integer(1...1_000_000_000), standard: "100000",
      meaning:
        "While a group's offset store does not answer, its members get so many records of each partition beyond what is committed, and wait then."
    ),
    .init(
      key: "groups.fence-wait-ms", kind: .integer(0...86_400_000), standard: "300000",
      meaning:
        "How long a partition of a consumer group waits at the cut of a fenced swap of the topic's partitioner until the group has committed all partitions up to theirs, in milliseconds; 0 = not at all, keys that moved may be read out of order."
    ),
    .init(
      key: "log.level", kind: .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
      standard: "info", meaning: "The least severe events that are logged."),
  ]
}

/// host:port; an IPv6 address stands in brackets.
struct HostPort: Sendable, Hashable {
  let host: String
  let port: Int

  init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self.host = host
    self.port = Int(port)
  }
}
