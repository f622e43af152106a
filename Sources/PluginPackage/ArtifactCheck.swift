import Glibc
package import SkeinCore

/// The checks that need nothing of a plug-in to run, in the order of plugins.md C4; the first that fails ends it.
package enum ArtifactCheck {
  /// The ABI of the header that this build has.
  package static let abiMajor: UInt32 = 1
  /// The services of skein_plugin.h.
  package static let hostServices: Set<String> = [
    "skein.host.log/1", "skein.host.config/1", "skein.host.metrics/1", "skein.host.async/1",
  ]
  package static let entrySymbol = "skein_plugin_entry"
  /// The name of the file for this platform in refusals, and in the store.
  package static let fileName = "plugin.so"

  /// This machine: "linux/amd64".
  package static var platform: String {
    #if arch(arm64)
      "linux/arm64"
    #else
      "linux/amd64"
    #endif
  }

  /// This machine's C library; nil: it is not glibc.
  package static let library: LibraryVersion? = {
    var text = [UInt8](repeating: 0, count: 64)
    let count = text.withUnsafeMutableBytes { buffer in
      confstr(
        Int32(_CS_GNU_LIBC_VERSION), buffer.baseAddress?.assumingMemoryBound(to: CChar.self), buffer.count)
    }
    guard count > 1, count <= text.count else { return nil }
    // "glibc 2.36"
    let words = String(decoding: text[..<(count - 1)], as: UTF8.self).split(separator: " ")
    return words.count == 2 && words[0] == "glibc" ? LibraryVersion(words[1]) : nil
  }()

  /// Policy, signature, manifest, platform, requires, hash, ABI, symbols.
  /// - Throws: `PLUGIN_REFUSED`.
  package static func verify(
    package: PackageFile, policy: TrustPolicy, grants: Set<PluginGrant> = []
  ) throws(Fault) -> (artifact: VerifiedArtifact, passed: [PassedCheck]) {
    var (level, passed) = try policy.judge(package)
    let manifest = try Manifest(parsing: package.manifest)
    passed.append(
      PassedCheck(Refusal.Check.manifest.rawValue, "\(manifest.reference), by \(manifest.publisher)"))
    guard package.artifacts.count == manifest.artifacts.count else {
      throw refused(
        .manifest, manifest, Manifest.fileName,
        "\(Manifest.fileName) names \(manifest.artifacts.count) files, and the package holds \(package.artifacts.count)",
        "Pack it again with `skein plugin pack`")
    }
    let index = try place(manifest, &passed)
    try checkRequires(manifest, &passed)
    for (position, claim) in manifest.artifacts.enumerated() {
      let name = position == index ? fileName : "the file for \(claim.platform)"
      try checkHash(package.artifacts[position], claim, name, manifest)
    }
    passed.append(PassedCheck(Refusal.Check.hash.rawValue, "sha256 \(manifest.artifacts[index].sha256)"))
    let artifact = try checkFile(
      package.artifacts[index], claim: manifest.artifacts[index], manifest, level: level, grants: grants,
      &passed)
    return (artifact, passed)
  }

  /// The same for one stored file, its manifest and its seal, as they lie on the disk at every load.
  package static func verify(
    file: SharedBytes, manifest bytes: [UInt8], seal: PackageFile.Seal?, policy: TrustPolicy,
    grants: Set<PluginGrant>
  ) throws(Fault) -> VerifiedArtifact {
    var passed: [PassedCheck] = []
    let (level, _) = try policy.judge(PackageFile(manifest: bytes, seal: seal, artifacts: []))
    let manifest = try Manifest(parsing: bytes)
    let claim = manifest.artifacts[try place(manifest, &passed)]
    try checkRequires(manifest, &passed)
    try checkHash(file, claim, fileName, manifest)
    return try checkFile(file, claim: claim, manifest, level: level, grants: grants, &passed)
  }

  // MARK: One check each

  private static func place(_ manifest: Manifest, _ passed: inout [PassedCheck]) throws(Fault) -> Int {
    guard manifest.abiMajor == abiMajor else {
      throw refused(
        .abi, manifest, Manifest.fileName,
        "it is built for ABI major \(manifest.abiMajor), and this broker has major \(abiMajor)",
        "Use a version of the plug-in for major \(abiMajor), or a broker that has major \(manifest.abiMajor)")
    }
    guard let index = manifest.artifacts.firstIndex(where: { $0.platform == platform }) else {
      let offered = manifest.artifacts.map(\.platform).joined(separator: ", ")
      throw refused(
        .platform, manifest, Manifest.fileName,
        "it has a file for \(offered), and this broker runs on \(platform)",
        "Ask \(manifest.publisher) for a package that holds a file for \(platform)")
    }
    if let text = manifest.artifacts[index].libcMinimum { try checkLibrary(text, manifest) }
    passed.append(PassedCheck(Refusal.Check.platform.rawValue, platform))
    return index
  }

  private static func checkLibrary(_ text: String, _ manifest: Manifest) throws(Fault) {
    guard let least = LibraryVersion(text), let have = library, have < least else { return }
    throw refused(
      .platform, manifest, fileName, "it needs glibc \(least), and this broker's machine has \(have)",
      "Ask \(manifest.publisher) for a file that was built on an older system, or update this one")
  }

  private static func checkRequires(_ manifest: Manifest, _ passed: inout [PassedCheck]) throws(Fault) {
    let missing = manifest.requires.filter { !hostServices.contains($0) }
    guard missing.isEmpty else {
      throw refused(
        .requires, manifest, Manifest.fileName,
        "it requires the host service \(missing.map(\.displayable).joined(separator: ", ")), which this broker does not have",
        "Use a newer broker, or a version of the plug-in that does without")
    }
    let list = manifest.requires.isEmpty ? "none" : manifest.requires.joined(separator: ", ")
    passed.append(PassedCheck(Refusal.Check.requires.rawValue, list))
  }

  private static func checkHash(
    _ bytes: SharedBytes, _ claim: Manifest.Artifact, _ name: String, _ manifest: Manifest
  ) throws(Fault) {
    let hash = Digest.hexadecimal(bytes)
    guard bytes.count == claim.size, hash == claim.sha256 else {
      throw refused(
        .hash, manifest, name,
        "\(name) is not what \(manifest.publisher.displayable) signed (sha256 \(hash.prefix(12))… of \(bytes.count) bytes instead of \(claim.sha256.prefix(12))… of \(claim.size))",
        "Fetch it again and install it again, or ask \(manifest.publisher.displayable)")
    }
  }

  private static func checkFile(
    _ bytes: SharedBytes, claim: Manifest.Artifact, _ manifest: Manifest, level: TrustLevel,
    grants: Set<PluginGrant>, _ passed: inout [PassedCheck]
  ) throws(Fault) -> VerifiedArtifact {
    let file = try bytes.withUnsafeBytes { (raw) throws(Fault) in try ELFFile(parsing: raw) }
    try checkABI(file, claim, manifest)
    passed.append(PassedCheck(Refusal.Check.abi.rawValue, "major \(abiMajor), minor \(manifest.abiMinor)"))
    try checkLoading(file, claim, manifest)
    passed.append(
      PassedCheck(
        Refusal.Check.symbols.rawValue,
        "\(entrySymbol) alone; never unloaded; glibc \(file.glibcMinimum?.description ?? "any")"))
    return VerifiedArtifact(
      manifest: manifest, sha256: claim.sha256, bytes: bytes, trust: level, grants: grants)
  }

  private static func checkABI(_ file: ELFFile, _ claim: Manifest.Artifact, _ manifest: Manifest)
    throws(Fault)
  {
    guard file.machine.word == claim.architecture else {
      throw refused(
        .platform, manifest, fileName,
        "\(fileName) is for \(file.machine.word), not for \(claim.architecture)",
        "Pack the file that was built for \(claim.platform)")
    }
    guard let mark = file.abiMark else {
      throw refused(
        .abi, manifest, fileName,
        "\(fileName) has no mark of the ABI that it was built for (section .skein.abi)",
        "Put SKEIN_PLUGIN_ABI_MARK once into its source, or build it with SkeinPluginKit")
    }
    guard mark.major == abiMajor, mark.pointerBits == 64 else {
      throw refused(
        .abi, manifest, fileName,
        "\(fileName) is built for ABI major \(mark.major) with \(mark.pointerBits)-bit pointers, and this broker has major \(abiMajor) with 64",
        "Use a version of the plug-in for major \(abiMajor), or a broker that has major \(mark.major)")
    }
    guard mark.minor == manifest.abiMinor else {
      throw refused(
        .abi, manifest, fileName,
        "\(fileName) is built for ABI minor \(mark.minor), and \(Manifest.fileName) says \(manifest.abiMinor)",
        "Correct abi.minor in the manifest and pack again")
    }
  }

  private static func checkLoading(
    _ file: ELFFile, _ claim: Manifest.Artifact, _ manifest: Manifest
  ) throws(Fault) {
    if let problem = loadingProblem(file) {
      throw refused(.symbols, manifest, fileName, problem.cause, problem.cure)
    }
    guard let needs = file.glibcMinimum else { return }
    let said = claim.libcMinimum.flatMap { LibraryVersion($0) }
    guard let said, needs <= said else {
      throw refused(
        .platform, manifest, fileName,
        "\(fileName) needs glibc \(needs), and \(Manifest.fileName) says \(claim.libcMinimum ?? "any")",
        "Set libc_min to \(needs) in the manifest and pack again")
    }
  }

  /// What is wrong with the way in which a file wants to be loaded; nil: nothing. For the conformance kit too.
  package static func loadingProblem(_ file: ELFFile) -> (cause: String, cure: String)? {
    guard file.exportedSymbols == [entrySymbol] else {
      let others = file.exportedSymbols.filter { $0 != entrySymbol }
      if others.isEmpty {
        return ("\(fileName) does not export \(entrySymbol)", "Define it, with SKEIN_ENTRY before it")
      }
      let shown = others.prefix(3).map(\.displayable).joined(separator: ", ")
      return (
        "\(fileName) exports \(others.count) symbols besides \(entrySymbol): \(shown)\(others.count > 3 ? ", …" : "")",
        "Compile with -fvisibility=hidden, or link with a version script that keeps the entry alone"
      )
    }
    if !file.isNoDelete { return ("\(fileName) may be unloaded", "Link with -Wl,-z,nodelete") }
    if file.hasExecutableStack {
      return ("\(fileName) asks for an executable stack", "Link with -Wl,-z,noexecstack")
    }
    if file.hasTextRelocations { return ("\(fileName) has text relocations", "Compile with -fPIC") }
    return nil
  }

  private static func refused(
    _ check: Refusal.Check, _ manifest: Manifest, _ file: String, _ cause: String, _ cure: String
  ) -> Fault {
    let name = "\(manifest.reference.id) \(manifest.reference.version)"
    return Refusal.fault(check, file: file, plugin: name, cause: cause, cure: cure)
  }
}
