import GroupCoordination
import SkeinCore

/// Pages, removal, names: what an index or a key that is put together wrongly gets wrong.
extension OffsetStoreSuite {
  static let scanCases: [Case] = [
    Case("scan.pages", "Pages of any size together hold every offset once, in the order of the groups.") {
      scene in
      for group in 0..<6 {
        try await scene.commit(
          scene.group("g\(group)"), epoch: 1,
          Dictionary(uniqueKeysWithValues: (0...Int32(group)).map { ($0, Int64($0) + 100) }))
      }
      for limit in [1, 2, 3, 5, 7, 20, 21, 22, 1_000] {
        let groups = try await scene.scan(scene.tenant, limit: limit)
        let seen = groups.flatMap { group in group.offsets.map { "\(group.name)/\($0.partition.partition)" } }
        let wanted = (0..<6).flatMap { group in (0...group).map { "g\(group)/\($0)" } }
        try scene.check(
          seen.count == wanted.count && Set(seen) == Set(wanted),
          "in pages of \(limit): \(seen.count) offsets of \(wanted.count), \(Set(seen).count) different")
        let names = groups.map(\.name)
        try scene.check(names == names.sorted(), "in pages of \(limit), groups come in the order \(names)")
      }
    },
    Case("scan.values", "A scan gives offsets as a fetch does.") { scene in
      let offsets = (0..<5).map { StoreScene.offset($0, Int64($0) * 7, epoch: 3, metadata: "m\($0)") }
      try await scene.store.commit(scene.group(), memberEpoch: 3, offsets)
      let groups = try await scene.scan(scene.tenant, limit: 2)
      let found = groups.flatMap(\.offsets).sorted { $0.partition < $1.partition }
      try scene.check(found == offsets, "\(found) instead of \(offsets)")
    },
    Case("scan.order", "Groups come in the order of the bytes of their names.") { scene in
      let names = ["a", "A", "a!", "a/b", "ab", "Z", "z", "ä", "日本", "_", "0", "a b", "~"]
      for name in names { try await scene.commit(scene.group(name), epoch: 1, [0: 1]) }
      let wanted = names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
      for limit in [1, 4, 100] {
        let seen = try await scene.scan(scene.tenant, limit: limit).map(\.name)
        try scene.check(seen == wanted, "in pages of \(limit): \(seen) instead of \(wanted)")
      }
    },
    Case(
      "scan.while-changed",
      "What is there during all of a scan is in it once, whatever comes and goes meanwhile."
    ) {
      scene in
      for group in 0..<20 { try await scene.commit(scene.group("g\(group + 10)"), epoch: 1, [0: 1]) }
      var token = ""
      var seen: [String] = []
      var round = 0
      repeat {
        let page = try await scene.store.scan(tenant: scene.tenant, after: token, limit: 3)
        seen += page.groups.map(\.name)
        token = page.token
        // Before where the scan stands, sometimes more and sometimes less; the last of the page itself goes too.
        try await scene.commit(scene.group("a\(round)"), epoch: 1, [0: 1])
        if round % 2 == 0, let last = page.groups.last?.name {
          try await scene.store.remove(scene.group(last), nil)
        }
        if round % 4 == 3 {
          for before in 0...round { try await scene.store.remove(scene.group("a\(before)"), nil) }
        }
        round += 1
      } while !token.isEmpty && round < 100
      let wanted = (0..<20).map { "g\($0 + 10)" }
      try scene.check(seen == wanted, "\(seen) instead of \(wanted)")
    },
    Case("scan.nothing", "A tenant without groups has one empty page.") { scene in
      let page = try await scene.store.scan(tenant: scene.tenant, after: "", limit: 10)
      try scene.check(page.groups.isEmpty && page.token.isEmpty, "\(page)")
    },
  ]

  static let removeCases: [Case] = [
    Case("remove.some", "Some partitions go, the others stay; what was not there is no error.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 5, [0: 1, 1: 2, 2: 3])
      try await scene.store.remove(group, [StoreScene.partition(1), StoreScene.partition(9)])
      try await scene.expect(group, [0: 1, 2: 3], epoch: 5, "after one of three was removed")
      try await scene.store.remove(group, [])
      try await scene.expect(group, [0: 1, 2: 3], epoch: 5, "after nothing was removed")
    },
    Case("remove.all", "A removed group is gone, and no other; also after it was reopened.") { scene in
      for name in ["a", "ab", "b"] { try await scene.commit(scene.group(name), epoch: 5, [0: 1, 1: 2]) }
      try await scene.store.remove(scene.group("a"), nil)
      try await scene.store.remove(scene.group("a"), nil)
      try await scene.reopen()
      try await scene.expect(scene.group("a"), [:], "after it was removed")
      try await scene.expect(scene.group("ab"), [0: 1, 1: 2], "after another group was removed")
      let names = try await scene.scan(scene.tenant, limit: 100).map(\.name)
      try scene.check(names == ["ab", "b"], "the tenant's groups are \(names)")
    },
    Case("remove.forgets", "Who comes after a removal is not fenced by what was before.") { scene in
      let group = scene.group()
      try await scene.commit(group, epoch: 9, [0: 90])
      try await scene.store.remove(group, nil)
      try await scene.commit(group, epoch: 1, [0: 1])
      try await scene.expect(group, [0: 1], epoch: 1, "after a removal and a new commit")
    },
  ]

  static let nameCases: [Case] = [
    Case("name.any", "Groups of any name are kept as they are.") { scene in
      let names = [
        "plain", "Plain", "PLAIN", "with space", "with space ", "per%cent", "under_score", "underXscore",
        "semi;colon",
        "quote'quote", "double\"quote", "back\\slash", "{braces}", "co:lon", "a/b/c", "new\nline", "tab\tbed",
        "ünïcödé",
        "u\u{308}", "ü", "日本語グループ", "👩‍👩‍👧", "'; DROP TABLE offsets; --", "$1", "\u{1}", "*", "[a-z]",
        String(repeating: "n", count: GroupLimits.nameBytes),
        String(repeating: "é", count: GroupLimits.nameBytes / 2),
      ]
      for (number, name) in names.enumerated() {
        try await scene.commit(scene.group(name), epoch: 1, [0: Int64(number)])
      }
      for (number, name) in names.enumerated() {
        try await scene.expect(scene.group(name), [0: Int64(number)], "for the group `\(name)`")
      }
      let seen = Set(try await scene.scan(scene.tenant, limit: 5).map { Array($0.name.utf8) })
      try scene.check(
        seen == Set(names.map { Array($0.utf8) }), "a scan gives \(seen.count) groups of \(names.count)")
      try await scene.store.remove(scene.group("under_score"), nil)
      try await scene.store.remove(scene.group("per%cent"), nil)
      try await scene.store.remove(scene.group("*"), nil)
      try scene.check(
        try await scene.scan(scene.tenant, limit: 100).count == names.count - 3,
        "removing three removed others")
    },
    Case("name.tenants", "Groups of one name in several tenants have nothing in common.") { scene in
      // Names that become the same if tenant and group are only put side by side.
      let keys = [
        ("", "x"), ("-a", "b"), ("-a:b", "c"), ("-a", "b:c"), ("-a/b", "c"), ("-a", "b/c"), ("-ab", "c"),
        ("-a", "bc"),
        ("-a.b", "c"), ("-a", "b.c"), ("-A", "b"),
      ].map { GroupKey(tenant: scene.tenant + $0.0, name: $0.1) }
      for (number, key) in keys.enumerated() { try await scene.commit(key, epoch: 3, [0: Int64(number) + 1]) }
      for (number, key) in keys.enumerated() {
        try await scene.expect(key, [0: Int64(number) + 1], "for \(key)")
      }
      let seen = try await scene.scan(scene.tenant + "-a", limit: 2).map(\.name)
      try scene.check(seen == ["b", "b.c", "b/c", "b:c", "bc"], "a scan of one tenant gives \(seen)")
      try await scene.store.remove(keys[1], nil)
      try await scene.expect(keys[10], [0: 11], "after the group of another tenant was removed")
      try await scene.commit(keys[1], epoch: 1, [0: 1])
    },
    Case("name.metadata", "Metadata of up to 4 KiB come back as they were.") { scene in
      let texts = [
        "", " ", "plain", "{\"json\": [1, 2, \"three\"]}", "line\nline\r\n", "tab\t",
        "quote ' \" ` $$ \\ %s %d", "NULL",
        "日本語 👩‍👩‍👧 \u{202e}ltr", "u\u{308}", "\u{1}\u{7f}",
        String(repeating: "x", count: GroupLimits.metadataBytes),
        String(repeating: "é", count: GroupLimits.metadataBytes / 2),
        String(repeating: "👍", count: GroupLimits.metadataBytes / 4),
      ]
      let offsets = texts.enumerated().map { StoreScene.offset(Int32($0), 1, epoch: 1, metadata: $1) }
      try await scene.store.commit(scene.group(), memberEpoch: 1, offsets)
      try await scene.reopen()
      let found = try await scene.store.fetch(scene.group(), nil).sorted { $0.partition < $1.partition }
      for (text, offset) in zip(texts, found) {
        try scene.check(
          Array(text.utf8) == Array(offset.committed.metadata.utf8),
          "`\(text.prefix(40))` (\(text.utf8.count) bytes) came back as `\(offset.committed.metadata.prefix(40))` (\(offset.committed.metadata.utf8.count) bytes)"
        )
      }
      try scene.check(found.count == texts.count, "\(found.count) of \(texts.count) came back")
    },
  ]
}
