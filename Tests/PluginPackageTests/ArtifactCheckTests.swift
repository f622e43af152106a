import PluginPackage
import SkeinCore
import Testing

/// Every refusal of plugins.md C4 that needs nothing to run, in its order, each with its check, cause and cure.
@Suite struct ArtifactCheckTests {
  @Test func aSignedPackagePasses() throws {
    let package = try PackageFile(parsing: SharedBytes(try Sample.package().encoded()))
    let (artifact, passed) = try ArtifactCheck.verify(package: package, policy: try Sample.policy())
    #expect(artifact.trust == .trusted)
    #expect(artifact.bytes.array == (try Sample.file.get()))
    #expect(
      passed.map(\.name) == [
        "policy", "signature", "manifest", "platform", "requires", "hash", "abi", "symbols",
      ])
  }

  @Test func unsignedNeedsThePolicy() throws {
    let package = try Sample.package(signed: false)
    let refusal = try #require(try Sample.refusal(of: package))
    #expect(refusal.check == "policy" && refusal.message.contains("not signed"))
    #expect(refusal.cure.contains("skein plugin"))
    let allowed = try ArtifactCheck.verify(package: package, policy: try Sample.policy(allowDev: true))
    #expect(allowed.artifact.trust == .dev)
  }

  @Test func aStrippedSignatureIsNoSignature() throws {
    var package = try Sample.package()
    package.seal = nil
    #expect(try Sample.refusal(of: package)?.check == "policy")
  }

  @Test func anUnknownKeyIsRefusedAlsoWhereUnsignedIsNot() throws {
    let other = try Signature.generate()
    var package = try Sample.package()
    package.seal = PackageFile.Seal(
      keyID: try Signature.keyID(publicKeyPEM: other.publicPEM),
      signature: try Signature.sign(package.manifest, privateKeyPEM: other.privatePEM))
    for allowDev in [false, true] {
      let refusal = try #require(try Sample.refusal(of: package, allowDev: allowDev))
      #expect(refusal.check == "policy" && refusal.cure.contains("trust add"))
    }
    // Under the name of a trusted key it is a forgery.
    package.seal?.keyID = try Sample.seal([]).keyID
    #expect(try Sample.refusal(of: package, allowDev: true)?.check == "signature")
  }

  @Test func oneByteOfAnythingIsNoticed() throws {
    let bytes = try Sample.package().encoded()
    let policy = try Sample.policy()
    for at in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 400)) {
      var altered = bytes
      altered[at] ^= 0x01
      #expect(throws: Fault.self, "byte \(at)") {
        _ = try ArtifactCheck.verify(package: try PackageFile(parsing: SharedBytes(altered)), policy: policy)
      }
    }
    var longer = bytes
    longer.append(0)
    #expect(throws: Fault.self) { _ = try PackageFile(parsing: SharedBytes(longer)) }
    var package = try Sample.package()
    package.artifacts = [SharedBytes(try Sample.file.get() + [0])]
    let refusal = try #require(try Sample.refusal(of: package))
    #expect(refusal.check == "hash" && refusal.message.contains("is not what Acme signed"))
  }

  @Test func anotherPlatform() throws {
    let refusal = try #require(try Sample.refusal(of: try Sample.package(platform: "linux/riscv64")))
    #expect(refusal.check == "platform" && refusal.message.contains("linux/riscv64"))
    // A file for another machine under our name.
    var file = try Sample.file.get()
    file[18] = file[18] == 62 ? 183 : 62
    #expect(try Sample.refusal(of: try Sample.package(file: file))?.check == "platform")
    let tooNew = try Sample.package { $0.artifacts[0].libcMinimum = "9.99" }
    #expect(try Sample.refusal(of: tooNew)?.check == "platform")
  }

  @Test func anotherABI() throws {
    let manifest = try #require(try Sample.refusal(of: try Sample.package { $0.abiMajor = 2 }))
    #expect(manifest.check == "abi" && manifest.message.contains("major 2"))
    let source = Sample.source.replacing("SKEIN_PLUGIN_ABI_MARK;", with: mark(major: 2))
    let built = try Sample.package(file: try Sample.compile(source: source))
    #expect(try Sample.refusal(of: built)?.check == "abi")
    let unmarked = try Sample.package(file: try Sample.compile(["-DNO_MARK"]))
    #expect(try Sample.refusal(of: unmarked)?.message.contains(".skein.abi") == true)
    #expect(try Sample.refusal(of: try Sample.package { $0.abiMinor = 7 })?.check == "abi")
  }

  private func mark(major: Int) -> String {
    "__attribute__((section(\".skein.abi\"), used)) static const uint32_t m[4] = {0x314e4b53u, \(major)u, 0u, 64u};"
  }

  @Test func aMissingHostService() throws {
    let refusal = try #require(
      try Sample.refusal(of: try Sample.package { $0.requires = ["skein.host.gpu/1"] }))
    #expect(refusal.check == "requires" && refusal.message.contains("skein.host.gpu/1"))
  }

  @Test(arguments: [
    (["-DEXTRA"], "exports 1 symbols besides"), (["-DNO_ENTRY"], "does not export"),
    (["-Wl,-z,delete"], "may be unloaded"), (["-Wl,-z,execstack"], "executable stack"),
  ]) func aFileThatWantsToBeLoadedOtherwise(flags: [String], says: String) throws {
    let refusal = try #require(try Sample.refusal(of: try Sample.package(file: try Sample.compile(flags))))
    #expect(refusal.check == "symbols" && refusal.message.contains(says))
  }

  @Test func aNewerLibraryThanTheManifestSays() throws {
    let file = try Sample.compile(
      source: Sample.source
        + "\n#include <stdlib.h>\nvoid *keep(void) { return malloc(8); }\n__attribute__((used)) static void *(*k)(void) = keep;"
    )
    let package = try Sample.package(file: file) { $0.artifacts[0].libcMinimum = nil }
    let refusal = try #require(try Sample.refusal(of: package))
    #expect(refusal.check == "platform" && refusal.message.contains("glibc"))
  }

  @Test func whatIsReadAgainFromTheDiskIsCheckedAgain() throws {
    let package = try Sample.package()
    let file = package.artifacts[0]
    let policy = try Sample.policy()
    _ = try ArtifactCheck.verify(
      file: file, manifest: package.manifest, seal: package.seal, policy: policy, grants: [])
    var altered = file.array
    altered[altered.count - 1] ^= 1
    #expect(throws: Fault.self) {
      try ArtifactCheck.verify(
        file: SharedBytes(altered), manifest: package.manifest, seal: package.seal, policy: policy, grants: []
      )
    }
    #expect(throws: Fault.self) {
      try ArtifactCheck.verify(
        file: file, manifest: package.manifest, seal: nil, policy: policy, grants: [])
    }
    #expect(throws: Fault.self) {
      try ArtifactCheck.verify(
        file: file, manifest: package.manifest, seal: package.seal, policy: TrustPolicy(allowDev: true),
        grants: [])
    }
  }
}
