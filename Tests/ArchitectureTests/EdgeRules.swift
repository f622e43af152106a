/// What a rule found: where, and a sentence that names the cure.
struct Violation: CustomStringConvertible, Hashable {
  let place: String
  let message: String
  var description: String { "\(place): \(message)" }
}

/// Which module may see which: on the package description and on the imports.
enum EdgeRules {
  /// The package description must say exactly what the table says.
  static func check(_ package: PackageDescription) -> [Violation] {
    var found: [Violation] = []
    var seen: Set<String> = []
    for target in package.targets where target.type != "test" && target.type != "system" {
      seen.insert(target.name)
      guard let row = ModuleTable.rows[target.name] else {
        found.append(Violation(place: target.name, message: "is not in the module table; add a row"))
        continue
      }
      for extra in target.dependencies.subtracting(row.uses).sorted() {
        found.append(Violation(place: target.name, message: "may not depend on \(extra)"))
      }
      for stale in row.uses.subtracting(target.dependencies).sorted() {
        found.append(
          Violation(
            place: target.name, message: "the table allows \(stale), which Package.swift does not use"))
      }
    }
    for row in ModuleTable.rows.keys.sorted() where !seen.contains(row) {
      found.append(Violation(place: row, message: "is in the table but not in Package.swift"))
    }
    for target in package.targets where target.type == "system" {
      if !ModuleTable.systemLibraries.contains(target.name) {
        found.append(
          Violation(place: target.name, message: "is a system library that the table does not know"))
      }
    }
    for target in package.targets where target.type == "test" {
      for program in target.dependencies.intersection(["skeind", "skein"]).sorted() {
        found.append(
          Violation(place: target.name, message: "tests start \(program) as a process, they do not link it"))
      }
    }
    return found
  }

  /// Every edge of the table must point the way that the design draws.
  static func checkDirections(_ rows: [String: ModuleRow]) -> [Violation] {
    var found: [Violation] = []
    for (name, row) in rows.sorted(by: { $0.key < $1.key }) {
      if ["SkeinClient", "skein", "KillDriver"].contains(name) {
        for broker in row.uses.intersection(ModuleTable.brokerModules).sorted() {
          found.append(Violation(place: name, message: "a client may not see the broker's \(broker)"))
        }
      }
      if row.isPure {
        for impure in row.uses.union(row.toolchain).intersection(ModuleTable.impure).sorted() {
          found.append(Violation(place: name, message: "a pure module may not use \(impure)"))
        }
      }
      if reaches(name, from: row.uses, in: rows) {
        found.append(Violation(place: name, message: "depends on itself"))
      }
    }
    return found
  }

  private static func reaches(_ goal: String, from start: Set<String>, in rows: [String: ModuleRow]) -> Bool {
    var visited: Set<String> = []
    var next = Array(start)
    while let name = next.popLast() {
      if name == goal { return true }
      if visited.insert(name).inserted, let row = rows[name] { next += row.uses }
    }
    return false
  }

  /// Each import of a file must be an edge of its module's row.
  static func check(_ file: SwiftSource) -> [Violation] {
    guard let row = ModuleTable.rows[file.module] else {
      return [Violation(place: file.path, message: "lies in a module that is not in the table")]
    }
    return file.imports.compactMap { name, line in
      let place = "\(file.path):\(line)"
      if row.isPure, ModuleTable.impure.contains(name) {
        return Violation(place: place, message: "\(file.module) is pure and may not import \(name)")
      }
      if let owners = ModuleTable.soleUser[name], !owners.contains(file.module) {
        return Violation(
          place: place, message: "only \(owners.sorted().joined(separator: ", ")) may import \(name)")
      }
      if !row.uses.contains(name), !row.toolchain.contains(name) {
        return Violation(place: place, message: "\(file.module) may not import \(name)")
      }
      return nil
    }
  }
}
