import SkeinClient

/// Everything that is committed in a topic now.
func readAll(_ client: Client, _ topic: String) async throws -> [ConsumedRecord] {
  var configuration = ReaderConfiguration()
  configuration.stopsAtEnd = true
  let reader = try await client.reader(topic: topic, from: .beginning, configuration)
  var found: [ConsumedRecord] = []
  for try await record in reader.records { found.append(record) }
  await reader.close()
  return found
}
