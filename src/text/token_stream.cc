#include "text/token_stream.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace carronade {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The length of the longest end of `text` that begins `stop` without being all of it.
size_t beginning_at_end(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  }
  return 0;
}

}  // namespace

TokenStream::TokenStream(const Tokenizer& tokenizer, TokenStreamOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  for (const std::string& stop : options_.stop) {
    if (stop.empty()) throw Error(ErrorCode::kInvalidArgument, "a stop string is empty", "stop");
  }
}

std::string TokenStream::push(TokenId token) {
  if (stopped_ || (tokenizer_.is_special(token) && !options_.show_special_tokens)) return {};
  bytes_ += tokenizer_.token_bytes(token);
  return release(false);
}

std::string TokenStream::finish() { return stopped_ ? std::string() : release(true); }

std::string TokenStream::release(bool at_end) {
  const size_t searched = pending_.size();
  size_t used = 0;
  while (used < bytes_.size()) {
    const Utf8Part part = next_utf8_part(bytes_, used);
    if (part.state == Utf8State::kCut && !at_end) break;
    if (part.state == Utf8State::kWhole) {
      pending_.append(bytes_, used, part.length);
    } else {
      pending_.append(kReplacement);
    }
    used += part.length;
  }
  bytes_.erase(0, used);

  // The stop string that is complete first wins, so that the cut does not depend on how the text came in pieces.
  size_t first = 0;
  size_t first_end = std::string::npos;
  size_t held = 0;
  const std::string* found = nullptr;
  for (const std::string& stop : options_.stop) {
    // What was pending before held no whole stop string, so a new one ends in the new text.
    const size_t from = searched >= stop.size() ? searched - stop.size() + 1 : 0;
    const size_t at = pending_.find(stop, from);
    const size_t end = at == std::string::npos ? at : at + stop.size();
    if (end < first_end || (found && end == first_end && at < first)) {
      first = at;
      first_end = end;
      found = &stop;
    }
    held = std::max(held, beginning_at_end(pending_, stop));
  }
  if (found) {
    stopped_ = true;
    stop_string_ = *found;
    pending_.resize(options_.include_stop ? first_end : first);
    bytes_.clear();
    return std::exchange(pending_, {});
  }
  if (at_end) held = 0;
  std::string text = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, text.size());
  return text;
}

}  // namespace carronade
