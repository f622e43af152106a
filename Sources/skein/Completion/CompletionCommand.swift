import ArgumentParser

struct CompletionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completion", abstract: "Print the completion script of a shell.",
    discussion: """
      bash: skein completion bash > ~/.local/share/bash-completion/completions/skein
      zsh:  skein completion zsh > ~/.zfunc/_skein
            (with ~/.zfunc in fpath, before compinit)
      fish: skein completion fish > ~/.config/fish/completions/skein.fish

      Topics, groups and offset stores are completed by asking the cluster of the
      context in force, for 2 s at most.
      """)

  enum Shell: String, ExpressibleByArgument, CaseIterable {
    case bash, zsh, fish
    var shell: CompletionShell {
      switch self {
      case .bash: .bash
      case .zsh: .zsh
      case .fish: .fish
      }
    }
  }

  @Argument(help: "bash, zsh or fish.") var shell: Shell

  func run() throws { try Console.print(Skein.completionScript(for: shell.shell)) }
}
