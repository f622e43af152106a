import ArgumentParser
import Foundation
import PluginPackage
import SkeinCore

/// What a plug-in can be, as people write it.
extension PluginKind: ExpressibleByArgument {
  package init?(argument: String) {
    guard let kind = Self.allCases.first(where: { $0.word == argument }) else { return nil }
    self = kind
  }
  package static var allValueStrings: [String] { allCases.map(\.word) }
}

struct PluginNew: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "new", abstract: "Write a plug-in to begin with: it builds and passes its tests as it is.",
    discussion: """
      Writes a folder NAME with source, manifest, tests, build.sh, and the header or
      kit that it builds against. Nothing is downloaded. C needs a C compiler; Swift
      needs Swift 6.3; offset stores and authenticators need libprotobuf-c-dev as
      well. The rest: Docs/plugins/write-a-plugin.md.
      """)
  @Argument(help: "Its name: 1 to 40 of a-z 0-9 -, beginning with a letter.") var name: String
  @Option(help: "partitioner, offset-store or authenticator.") var kind: PluginKind = .partitioner
  @Option(help: "swift or c.") var lang: NewLanguage = .swift
  @Option(help: "Its id, a reversed domain name (default: com.example.NAME).") var id: String?
  @Option(help: "The folder to write, absent or empty (default: ./NAME).", completion: .directory) var dir:
    String?
  @OptionGroup var options: OutputOptions

  func run() throws {
    let project = try NewProject(name: name, kind: kind, language: lang, id: id ?? "com.example.\(name)")
    let folder = URL(fileURLWithPath: dir ?? name, isDirectory: true)
    let files = try project.write(to: folder)
    let json = JSON.object([
      ("name", .string(name)), ("id", .string(project.id)), ("folder", .string(folder.path)),
      ("files", .array(files.map { .string($0) })),
    ])
    try options.show(json, names: [folder.path]) {
      """
      wrote \(folder.path.displayable): \(files.count) files; \(project.source) is yours to change
      next:
        cd \((dir ?? name).displayable)
        ./build.sh && ./test.sh
        skein plugin test out/plugin.so
      """
    }
  }
}

/// What a plug-in is written in.
enum NewLanguage: String, ExpressibleByArgument, CaseIterable {
  case swift, c
}
