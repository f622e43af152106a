import MetadataStore
import Testing

struct KeyRangeTests {
  @Test func aPrefixCoversWhatBeginsSoAndNothingElse() {
    let range = KeyRange.prefix([1, 0xff])
    #expect(range == .from([1, 0xff], below: [2]))
    for key: [UInt8] in [[1, 0xff], [1, 0xff, 0], [1, 0xff, 0xff, 0xff]] { #expect(range.contains(key)) }
    for key: [UInt8] in [[1], [1, 0xfe, 9], [2], [2, 0]] { #expect(!range.contains(key)) }
    #expect(KeyRange.prefix([0xff, 0xff]) == .from([0xff, 0xff]))
    #expect(KeyRange.prefix([]) == .all)
    #expect(KeyRange.prefix("a/") == .from(Array("a/".utf8), below: Array("a0".utf8)))
    #expect(KeyRange.key([7]).contains([7]) && !KeyRange.key([7]).contains([7, 0]))
  }
}
