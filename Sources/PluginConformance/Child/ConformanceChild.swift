import CSkeinShims
import Foundation
import Glibc
import PluginPackage

/// The child's side: a program whose first argument is `argument` runs one check and ends.
package enum ConformanceChild {
  package static let argument = "--conformance-check"
  /// Address space of a child: room for a Swift runtime and its threads, and an end to what grows without one.
  static let addressSpace: UInt64 = 8 << 30
  static let descriptors: UInt64 = 512

  /// To be called first by every program that runs the kit. Does not come back in a child.
  package static func enterIfAsked() {
    guard CommandLine.arguments.dropFirst().first == argument else { return }
    // Descriptors 3 to 6 were made by the parent; a person who types the argument has none.
    guard fcntl(3, F_GETFD) >= 0, fcntl(6, F_GETFD) >= 0, let request = request() else { _exit(64) }
    let code = skein_conformance_confine(addressSpace, 600, descriptors)
    guard code == 0, let page = mmap(nil, ChildProcess.pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, 6, 0),
      page != MAP_FAILED
    else { _exit(65) }
    finish(run(request, page: page))
  }

  private static func request() -> CheckRequest? {
    guard let data = try? Data(contentsOf: URL(fileURLWithPath: "/proc/self/fd/4")) else { return nil }
    return try? JSONDecoder().decode(CheckRequest.self, from: data)
  }

  private static func run(_ request: CheckRequest, page: UnsafeMutableRawPointer) -> Finding {
    guard let check = CheckCatalogue.all.first(where: { $0.name == request.check }) else {
      return .failed("there is no check \(request.check)", cure: "see --list")
    }
    do {
      let manifest = try Manifest(parsing: Array(request.manifest))
      let context = CheckContext(request: request, manifest: manifest, artifact: 5, page: page)
      return try check.body(context)
    } catch let broken as Broken {
      return broken.finding
    } catch {
      return .failed("the check itself could not run: \(error)", cure: "report this to Skein")
    }
  }

  /// Hands the finding over and ends without running what the plug-in may have left to run at exit.
  private static func finish(_ finding: Finding) -> Never {
    let bytes = (try? JSONEncoder().encode(finding)) ?? Data()
    var rest = Array(bytes)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(3, $0.baseAddress, $0.count) }
      guard count > 0 else { break }
      rest = rest.dropFirst(count)
    }
    _exit(0)
  }
}
