import Glibc

/// Memory whose last byte is the last byte of a page, with an unreadable page behind it and before it: one byte too
/// far ends the process.
final class GuardedBuffer {
  let base: UnsafeMutableRawPointer
  let count: Int
  private let mapping: UnsafeMutableRawPointer
  private let mapped: Int

  /// `count` zero bytes; nil when there is no memory. The end is exact: `base` has the alignment that `count` gives it.
  init?(count: Int) {
    let page = 4_096
    let inner = max(page, (count + page - 1) / page * page)
    mapped = inner + 2 * page
    let raw = mmap(nil, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let raw, raw != MAP_FAILED else { return nil }
    guard mprotect(raw + page, inner, PROT_READ | PROT_WRITE) == 0 else {
      munmap(raw, mapped)
      return nil
    }
    mapping = raw
    self.count = count
    base = raw + page + inner - count
  }

  func makeReadOnly() { mprotect(mapping + 4_096, mapped - 2 * 4_096, PROT_READ) }

  /// Ends the mapping. Not done by `deinit`: tables of the host live until the process ends.
  func unmap() { munmap(mapping, mapped) }
}
