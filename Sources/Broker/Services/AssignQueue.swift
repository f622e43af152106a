import SkeinCore
import Wire

/// The AssignRequests of one stream that are not answered, in the order in which they came: so do the answers go,
/// in whichever order the partitioner gives them. Confined to the stream's loop.
struct AssignQueue {
  private struct Question {
    let messageBytes: Int
    var answer: AssignAnswer?
  }

  /// Questions of one stream at once; what comes beyond waits, and so does its flow-control credit.
  static let maximum = 64

  private var questions: [Question] = []
  /// The number of `questions[0]`.
  private var first = 0

  var isEmpty: Bool { questions.isEmpty }
  var isFull: Bool { questions.count >= Self.maximum }

  /// - Returns: the question's number, for `answer`.
  mutating func ask(messageBytes: Int) -> Int {
    questions.append(Question(messageBytes: messageBytes))
    return first + questions.count - 1
  }

  mutating func answer(_ number: Int, _ answer: AssignAnswer) {
    guard questions.indices.contains(number - first) else { return }
    questions[number - first].answer = answer
  }

  /// The answers whose turn it is, and the bytes of their questions' messages.
  mutating func takeReady() -> (answers: [AssignAnswer], messageBytes: Int) {
    var answers: [AssignAnswer] = []
    var bytes = 0
    for question in questions {
      guard let answer = question.answer else { break }
      answers.append(answer)
      bytes += question.messageBytes
    }
    questions.removeFirst(answers.count)
    first += answers.count
    return (answers, bytes)
  }
}
