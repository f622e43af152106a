package import SkeinCore

/// A `.skeinplug` file: a fixed container, never tar or zip, so that nothing in it names a path.
///
/// Docs/formats/plugin-package.md has the byte table. Reading copies nothing but manifest and signature; lengths are
/// checked against limits and against the file before anything is taken. A plain value.
package struct PackageFile: Sendable {
  package static let magic = Array("SKNPLUG1".utf8)
  static let headerBytes = 24
  static let lengthBytes = 8
  static let signatureBytes = 8 + Signature.length

  package static let mostBytes = 256 << 20
  package static let mostManifestBytes = 256 << 10
  package static let mostArtifactBytes = 64 << 20
  package static let mostArtifacts = 16

  /// Who says to have signed, and the signature over `manifest`.
  package struct Seal: Sendable, Hashable {
    /// 16 hexadecimal digits. A hint for looking the key up, nothing more.
    package var keyID: String
    package var signature: [UInt8]
    package init(keyID: String, signature: [UInt8]) {
      self.keyID = keyID
      self.signature = signature
    }
  }

  /// The bytes that are signed, as they are.
  package var manifest: [UInt8]
  package var seal: Seal?
  /// In the manifest's order.
  package var artifacts: [SharedBytes]

  package init(manifest: [UInt8], seal: Seal?, artifacts: [SharedBytes]) {
    self.manifest = manifest
    self.seal = seal
    self.artifacts = artifacts
  }

  /// - Throws: `PLUGIN_REFUSED` (check: package).
  package init(parsing file: SharedBytes) throws(Fault) {
    guard file.count >= Self.headerBytes else { throw Self.refused("it ends in its header") }
    guard file.count <= Self.mostBytes else {
      throw Self.refused("it has \(file.count) bytes, more than \(Self.mostBytes)")
    }
    let head = file.slice(0..<Self.headerBytes).array
    guard Array(head[..<8]) == Self.magic else {
      throw Self.refused("it does not begin with SKNPLUG1, so it is no plug-in package of a known version")
    }
    let manifestBytes = Self.integer(head[8..<12])
    let signatureBytes = Self.integer(head[12..<16])
    let count = Self.integer(head[16..<20])
    guard Self.integer(head[20..<24]) == 0 else { throw Self.refused("bytes 20 to 23 are not zero") }
    guard (1...Self.mostManifestBytes).contains(manifestBytes) else {
      throw Self.refused("its manifest has \(manifestBytes) bytes, not 1 to \(Self.mostManifestBytes)")
    }
    guard signatureBytes == 0 || signatureBytes == Self.signatureBytes else {
      throw Self.refused(
        "its signature has \(signatureBytes) bytes, not \(Self.signatureBytes), nor 0 for none")
    }
    guard (1...Self.mostArtifacts).contains(count) else {
      throw Self.refused("it says to hold \(count) files, not 1 to \(Self.mostArtifacts)")
    }
    var at = Self.headerBytes + count * Self.lengthBytes
    guard file.count >= at + manifestBytes + signatureBytes else {
      throw Self.refused("it ends in its manifest or signature")
    }
    let table = file.slice(Self.headerBytes..<at).array
    manifest = file.slice(at..<at + manifestBytes).array
    at += manifestBytes
    if signatureBytes > 0 {
      let sealed = file.slice(at..<at + signatureBytes).array
      seal = Seal(keyID: Digest.text(sealed[..<8]), signature: Array(sealed[8...]))
      at += signatureBytes
    }
    artifacts = []
    for index in 0..<count {
      let start = index * Self.lengthBytes
      let low = Self.integer(table[start..<start + 4])
      let high = Self.integer(table[start + 4..<start + 8])
      guard high == 0, (1...Self.mostArtifactBytes).contains(low) else {
        throw Self.refused("file \(index + 1) has a length outside 1 to \(Self.mostArtifactBytes) bytes")
      }
      guard file.count - at >= low else { throw Self.refused("it ends in file \(index + 1)") }
      artifacts.append(file.slice(at..<at + low))
      at += low
    }
    guard at == file.count else {
      throw Self.refused("\(file.count - at) bytes stand behind its last file")
    }
  }

  /// The file's bytes. Who calls keeps the limits; a key id that is none becomes zeros.
  package func encoded() -> [UInt8] {
    var out = Self.magic
    Self.append(manifest.count, to: &out)
    Self.append(seal == nil ? 0 : Self.signatureBytes, to: &out)
    Self.append(artifacts.count, to: &out)
    Self.append(0, to: &out)
    for artifact in artifacts {
      Self.append(artifact.count, to: &out)
      Self.append(0, to: &out)
    }
    out += manifest
    if let seal {
      let id = UInt64(seal.keyID, radix: 16) ?? 0
      for shift in stride(from: 56, through: 0, by: -8) { out.append(UInt8(truncatingIfNeeded: id >> shift)) }
      out += seal.signature
    }
    for artifact in artifacts { out += artifact.array }
    return out
  }

  private static func integer(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.reversed().reduce(0) { $0 << 8 | Int($1) }
  }

  private static func append(_ value: Int, to out: inout [UInt8]) {
    let value = UInt32(clamping: value)
    for shift in stride(from: 0, through: 24, by: 8) { out.append(UInt8(truncatingIfNeeded: value >> shift)) }
  }

  private static func refused(_ cause: String) -> Fault {
    Refusal.fault(
      .package, file: "package", cause: "the file is no sound plug-in package: \(cause)",
      cure: "Fetch it again, or make it with `skein plugin pack`")
  }
}
