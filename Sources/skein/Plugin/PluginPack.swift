import ArgumentParser
import Foundation
import PluginPackage
import SkeinCore

struct PluginKeygen: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keygen", abstract: "Make a pair of keys for signing packages.",
    discussion: """
      Writes NAME.key (the private half, for you alone) and NAME.pem (the public
      half, for operators: `skein plugin trust add NAME.pem`).
      """)
  @OptionGroup var options: OutputOptions
  @Argument(help: "The files' name, without an ending.", completion: .file()) var name: String

  func run() throws {
    let pair = try PluginFiles.told { () throws(Fault) in try Signature.generate() }
    let id = try PluginFiles.told { () throws(Fault) in try Signature.keyID(publicKeyPEM: pair.publicPEM) }
    let (secret, open) = ("\(name).key", "\(name).pem")
    for path in [secret, open] where FileManager.default.fileExists(atPath: path) {
      throw LocalFailure(
        "\(path.displayable) is there already; a key is never overwritten, choose another name")
    }
    try PluginFiles.write(Array(pair.privatePEM.utf8), to: secret, mode: 0o600)
    try PluginFiles.write(Array(pair.publicPEM.utf8), to: open, mode: 0o644)
    try options.show(
      .object([("key_id", .string(id)), ("private", .string(secret)), ("public", .string(open))]), names: [id]
    ) { "key \(id): \(secret.displayable) (keep it to yourself), \(open.displayable) (for operators)" }
  }
}

struct PluginPack: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pack", abstract: "Make a package from a folder with manifest.json and .so files.",
    discussion: """
      The manifest may leave out schema, abi and artifacts: they are taken from the
      files, each .so of the folder being one artifact; or it names them as {"file":
      "NAME.so"}. Docs/formats/plugin-package.md has every field. Without --key the
      package is not signed, and only brokers with plugins.allow-dev take it.
      """)
  @OptionGroup var options: OutputOptions
  @Argument(help: "The folder.", completion: .directory) var folder: String
  @Option(help: "The private key that signs it: a PEM file, of `keygen`.", completion: .file()) var key:
    String?
  @Option(help: "The file to write (default: ID-VERSION.skeinplug here).", completion: .file()) var to:
    String?
  @Flag(help: "Replace the file if it is there.") var force = false

  func run() throws {
    let root = URL(fileURLWithPath: folder)
    let template = try PluginFiles.bytes(
      root.appendingPathComponent(Manifest.fileName).path, limit: PackageFile.mostManifestBytes)
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? [])
      .filter { $0.hasSuffix(".so") }.sorted()
    let files = try names.map {
      PackageBuilder.File(
        name: $0,
        bytes: try PluginFiles.bytes(
          root.appendingPathComponent($0).path, limit: PackageFile.mostArtifactBytes))
    }
    let pem = try key.map { try PluginFiles.text($0) }
    let made = try PluginFiles.told { () throws(Fault) in
      try PackageBuilder.build(template: template, files: files, privateKeyPEM: pem)
    }
    let bytes = made.package.encoded()
    let reference = made.manifest.reference
    let path = to ?? "\(reference.id)-\(reference.version).skeinplug"
    if force { try? FileManager.default.removeItem(atPath: path) }
    try PluginFiles.write(bytes, to: path, mode: 0o644)
    if pem == nil {
      Console.note("skein: the package is not signed; sign it with --key before you hand it out")
    }
    let json = JSON.object([
      ("file", .string(path)), ("id", .string(reference.id)), ("version", .string(reference.version)),
      ("sha256", .string(Digest.hexadecimal(bytes))), ("size", .int(Int64(bytes.count))),
      ("key_id", made.package.seal.map { .string($0.keyID) } ?? .null),
      ("platforms", .array(made.manifest.artifacts.map { .string($0.platform) })),
    ])
    try options.show(json, names: [path]) {
      "packed \(reference) for \(made.manifest.artifacts.map(\.platform).joined(separator: ", ")): \(path.displayable), \(Units.bytes(Int64(bytes.count)))"
    }
  }
}

struct PluginVerify: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check a package here, without a broker and without running it.",
    discussion: """
      The checks that a broker makes before it tries a package, in the same order.
      Whose signature counts is the broker's policy; here it is checked against
      --key, or not at all.
      """)
  @OptionGroup var options: OutputOptions
  @Argument(help: "The .skeinplug.", completion: .file()) var file: String
  @Option(help: "A public key (PEM) that must have signed it; repeatable.", completion: .file()) var key:
    [String] = []

  func run() throws {
    let pems = try key.map { try PluginFiles.text($0) }
    let package = try PluginFiles.package(file).file
    let (artifact, passed) = try PluginFiles.told { () throws(Fault) in
      var policy = TrustPolicy(allowDev: pems.isEmpty)
      for pem in pems {
        policy.keys[try Signature.keyID(publicKeyPEM: pem)] = .init(pem: pem, level: .trusted)
      }
      var judged = package
      if pems.isEmpty { judged.seal = nil }
      return try ArtifactCheck.verify(package: judged, policy: policy)
    }
    var checks = passed.map { ($0.name, $0.detail) }
    if pems.isEmpty {
      let signer = package.seal.map { "signed by \($0.keyID)" } ?? "not signed"
      checks[0] = ("policy", "not checked: \(signer); give the author's public key with --key")
    }
    let json = JSON.object([
      ("plugin", .string(artifact.manifest.reference.description)), ("sha256", .string(artifact.sha256)),
      ("signature_checked", .bool(!pems.isEmpty)),
      ("key_id", package.seal.map { .string($0.keyID) } ?? .null),
      (
        "checks",
        .array(checks.map { .object([("name", .string($0.0)), ("detail", .string($0.1))]) })
      ),
    ])
    try options.show(json, names: [artifact.manifest.reference.description]) {
      "\(artifact.manifest.reference) is sound\n" + PluginInstall.lines(checks)
    }
  }
}
