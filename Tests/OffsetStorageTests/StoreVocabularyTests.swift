import GroupCoordination
import OffsetStorage
import SkeinCore
import Testing

@Suite struct StoreVocabularyTests {
  @Test func anOffsetIsItsWholeValue() {
    let partition = TopicPartition(topic: TopicID(high: 1, low: 2), partition: 3)
    let committed = CommittedOffset(offset: Offset(4), leaderEpoch: 5, metadata: "m", committedAt: 6)
    let one = StoredOffset(partition: partition, committed: committed, memberEpoch: 7)
    var other = one
    other.memberEpoch = 8
    #expect(one != other)
  }
}
