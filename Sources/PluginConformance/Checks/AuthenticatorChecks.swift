import CSkeinPlugin
import Foundation
import PluginPackage
import SkeinCore
import Wire

/// Who is let in, and who is not.
enum AuthenticatorChecks {
  static let all: [Check] = [
    check("auth.accepts", "The credential that is given with --credential is let in.") { context, subject in
      guard let credential = context.request.credential else { return .skipped(noCredential) }
      // A challenge is as good: the exchange went on.
      if case .denied = try ask(subject, credential.mechanism, Array(credential.message)) {
        throw Broken("the credential of --credential was denied", cure: "give one that fits the --config")
      }
      return .passed()
    },
    check("auth.wrong", "Wrong credentials, and mechanisms that do not exist, are denied.", wrong),
    check(
      "auth.truncated", "Parts of a good credential, and what differs in one bit, are denied.",
      after: ["auth.accepts", "auth.wrong"], truncated),
    check(
      "auth.replay", "The last message of an exchange does not open another one.", after: ["auth.accepts"],
      replay),
    check(
      "auth.random", "10,000 random messages are denied.", after: ["auth.wrong", "auth.truncated"],
      seconds: 60, random),
    secret,
  ]

  private static let noCredential = "no --credential was given"
  private static let mechanisms = ["bearer", "scram-sha-256", "plain", "", "no-such-mechanism"]

  private static func check(
    _ name: String, _ promise: String, after: [String] = [], seconds: Double = 20,
    _ body: @escaping @Sendable (CheckContext, AsyncSubject) throws -> Finding
  ) -> Check {
    Check(name, promise, kinds: [.authenticator], after: ["calls.basic"] + after, seconds: seconds) {
      context in
      try body(context, AsyncSubject(context, try context.load(), .authenticator))
    }
  }

  enum Answer {
    case principal(String)
    case challenge([UInt8])
    case denied
  }

  /// One step in an exchange of its own.
  static func ask(_ subject: AsyncSubject, _ mechanism: String, _ message: [UInt8]) throws -> Answer {
    let exchange = subject.newExchange()
    defer { subject.end(exchange) }
    return try step(subject, exchange, mechanism, message)
  }

  private static func step(
    _ subject: AsyncSubject, _ exchange: UInt64, _ mechanism: String, _ message: [UInt8]
  ) throws -> Answer {
    let call = subject.step(
      exchange, mechanism: mechanism, message: message, deadline: AsyncSubject.deadline(in: 2))
    guard subject.host.wait(for: [call], seconds: 5).isEmpty, let end = subject.host.completion(of: call)
    else {
      throw Broken("a step was never completed", cure: "end every call by exactly one `complete`")
    }
    return try answer(end)
  }

  private static func answer(_ end: TestHost.Completion) throws -> Answer {
    guard end.status == SKEIN_OK else { return .denied }
    let result: PluginAuthenticateResult
    do {
      result = try PluginAuthenticateResult(decoding: SharedBytes(end.result))
    } catch {
      throw Broken(
        "the result of a step is no AuthenticateResult: \(error)",
        cure: "encode skein.plugin.v1.AuthenticateResult")
    }
    if !result.principal.isEmpty { return .principal(result.principal) }
    return result.challenge.isEmpty ? .denied : .challenge(result.challenge)
  }

  private static func mustDeny(
    _ subject: AsyncSubject, _ mechanism: String, _ message: [UInt8], _ what: String
  ) throws {
    if case .principal(let name) = try ask(subject, mechanism, message) {
      throw Broken(
        "\(what) (mechanism \"\(mechanism)\", \(message.count) bytes) was let in as \(name.displayable)",
        cure: "compare all of it, in constant time, and deny by default")
    }
  }

  private static func wrong(_ context: CheckContext, _ subject: AsyncSubject) throws -> Finding {
    let messages: [[UInt8]] = [
      [], [0], Array("a".utf8), Array("wrong".utf8), Array("Bearer wrong".utf8), Array("admin".utf8),
      Array("\u{0}admin\u{0}admin".utf8), Array("n,,n=admin,r=abc".utf8), Array("' OR 1=1 --".utf8),
      [UInt8](repeating: 0xff, count: 64), [UInt8](repeating: 0x41, count: 65_536), Array("{}".utf8),
      Array("null".utf8),
    ]
    for mechanism in mechanisms {
      for message in messages { try mustDeny(subject, mechanism, message, "a wrong credential") }
    }
    return .passed(["tried": Double(mechanisms.count * messages.count)])
  }

  private static func truncated(_ context: CheckContext, _ subject: AsyncSubject) throws -> Finding {
    guard let credential = context.request.credential else { return .skipped(noCredential) }
    let whole = Array(credential.message)
    for length in 0..<min(whole.count, 2_000) {
      try mustDeny(subject, credential.mechanism, Array(whole.prefix(length)), "a part of the credential")
    }
    for bit in 0..<min(whole.count * 8, 4_000) {
      var other = whole
      other[bit / 8] ^= 1 << UInt8(bit % 8)
      try mustDeny(subject, credential.mechanism, other, "a credential that differs in one bit")
    }
    for suffix: [UInt8] in [[0], [0x20], [0x0a], whole] {
      try mustDeny(subject, credential.mechanism, whole + suffix, "the credential with more behind it")
    }
    return .passed(["tried": Double(whole.count * 9 + 4)])
  }

  private static func replay(_ context: CheckContext, _ subject: AsyncSubject) throws -> Finding {
    guard let credential = context.request.credential else { return .skipped(noCredential) }
    let exchange = subject.newExchange()
    let first = try step(subject, exchange, credential.mechanism, Array(credential.message))
    subject.end(exchange)
    guard case .challenge(let challenge) = first else {
      return .skipped("one message is all of this mechanism: whoever has it has it, as with every bearer")
    }
    if case .principal = try ask(subject, credential.mechanism, challenge) {
      throw Broken("the challenge, sent back, was let in", cure: "tell the two directions apart")
    }
    return .passed()
  }

  private static func random(_ context: CheckContext, _ subject: AsyncSubject) throws -> Finding {
    var random = context.random(7)
    // Many at once, as at a listener's door.
    for round in 0..<50 {
      var open: [(exchange: UInt64, call: skein_call)] = []
      for turn in 0..<200 {
        let message = random.bytes(Int(random.next() % (turn % 100 == 0 ? 4_096 : 80)))
        let mechanism = turn % 10 == 9 ? mechanisms[Int(random.next() % 5)] : "bearer"
        let exchange = subject.newExchange()
        open.append(
          (
            exchange,
            subject.step(
              exchange, mechanism: mechanism, message: message, deadline: AsyncSubject.deadline(in: 2))
          ))
      }
      guard subject.host.wait(for: open.map(\.call), seconds: 5).isEmpty else {
        throw Broken("a step was never completed", cure: "end every call by exactly one `complete`")
      }
      for (turn, one) in open.enumerated() {
        subject.end(one.exchange)
        if case .principal(let name)? = try subject.host.completion(of: one.call).map(answer) {
          throw Broken(
            "random message \(round * 200 + turn) was let in as \(name.displayable)",
            cure: "compare all of it, in constant time, and deny by default")
        }
      }
      subject.host.forgetCalls()
    }
    return .passed(["tried": 10_000])
  }

  // MARK: Secrets

  private static let canary = "canary-7f3a9c51e8d24b60"

  /// What a client says must not stand in a log: not as it is, in hexadecimal, nor in base64.
  private static let secret = Check(
    "auth.secret", "What clients say never stands in the log, on stdout or on stderr.",
    kinds: [.authenticator],
    after: ["calls.basic"],
    compare: { observations in
      for observation in observations where leaks(observation.output) {
        return .failed(
          "what a client said stands on stdout or stderr", cure: "write neither secrets nor what may be one")
      }
      return observations.last?.finding ?? .passed()
    }
  ) { context in
    let subject = try AsyncSubject(context, try context.load(), .authenticator)
    for mechanism in mechanisms {
      for message in ["", "Bearer ", "n,,n=user,r="] {
        _ = try ask(subject, mechanism, Array((message + canary).utf8))
      }
    }
    if let credential = context.request.credential {
      _ = try ask(subject, credential.mechanism, Array(credential.message))
      let secret = String(decoding: credential.message, as: UTF8.self)
      if subject.host.lines.contains(where: { String(decoding: $0, as: UTF8.self).contains(secret) }) {
        throw Broken("the credential stands in the log", cure: "log the principal, never what proves it")
      }
    }
    guard !subject.host.lines.contains(where: leaks) else {
      throw Broken("what a client said stands in the log", cure: "log the principal, never what proves it")
    }
    return .passed(["log_lines": Double(subject.host.lineCount)])
  }

  private static func leaks(_ bytes: [UInt8]) -> Bool {
    let text = String(decoding: bytes, as: UTF8.self)
    let hexadecimal = canary.utf8.map { String($0, radix: 16) }.joined()
    // Any alignment of the canary in base64 contains one of these.
    let base64 = (0..<3).map { pad in
      let padded = Data(repeating: 0x20, count: pad) + Data(canary.utf8)
      return String(padded.base64EncodedString().dropFirst(4).prefix(20))
    }
    return ([canary, hexadecimal] + base64).contains { text.localizedCaseInsensitiveContains($0) }
  }
}
