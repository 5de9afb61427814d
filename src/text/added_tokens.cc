#include "text/added_tokens.h"

#include "text/unicode.h"

namespace carronade {

AddedTokenMatcher::AddedTokenMatcher(const std::vector<const AddedToken*>& tokens) : nodes_(1) {
  for (const AddedToken* token : tokens) {
    // A damaged file's token of half a character would cut characters of the text in two.
    if (token->content.empty() || !is_valid_utf8(token->content)) continue;
    uint32_t node = 0;
    for (const char c : token->content) {
      const auto byte = static_cast<unsigned char>(c);
      uint32_t child = node == 0 ? roots_[byte] : nodes_[node].first_child;
      while (child != 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
      if (child == 0) {
        child = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back({.byte = byte});
        if (node == 0) {
          roots_[byte] = child;
        } else {
          nodes_[child].sibling = nodes_[node].first_child;
          nodes_[node].first_child = child;
        }
      }
      node = child;
    }
    if (nodes_[node].token < 0) nodes_[node].token = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(token);
  }
}

const AddedToken* AddedTokenMatcher::match(std::string_view text) const {
  const AddedToken* longest = nullptr;
  uint32_t node = roots_[static_cast<unsigned char>(text[0])];
  for (size_t i = 1; node != 0; ++i) {
    if (nodes_[node].token >= 0) longest = tokens_[static_cast<size_t>(nodes_[node].token)];
    if (i == text.size()) break;
    const auto byte = static_cast<unsigned char>(text[i]);
    uint32_t child = nodes_[node].first_child;
    while (child != 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
    node = child;
  }
  return longest;
}

namespace {

uint16_t class_before(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return CharClasses::instance().of(decode_char(text, end).value);
}

uint16_t class_at(std::string_view text, size_t position) {
  return CharClasses::instance().of(decode_char(text, position).value);
}

size_t space_before(std::string_view text, size_t end) {
  while (end > 0 && (class_before(text, end) & kSpace) != 0) {
    do --end;
    while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  }
  return end;
}

size_t space_after(std::string_view text, size_t position) {
  while (position < text.size() && (class_at(text, position) & kSpace) != 0)
    position += decode_char(text, position).length;
  return position;
}

}  // namespace

void AddedTokenMatcher::partition(std::string_view text, bool parse_special, std::vector<Segment>& segments) const {
  size_t done = 0;
  for (size_t p = 0; p < text.size();) {
    while (p < text.size() && roots_[static_cast<unsigned char>(text[p])] == 0) ++p;
    if (p == text.size()) break;
    const AddedToken* token = match(text.substr(p));
    if (!token) {
      ++p;
      continue;
    }
    size_t start = p;
    size_t end = p + token->content.size();
    p = end;  // matches do not overlap, not even with one that is passed over
    if (token->special && !parse_special) continue;
    if (token->single_word && ((start > 0 && (class_before(text, start) & kWord) != 0) ||
                               (end < text.size() && (class_at(text, end) & kWord) != 0))) {
      continue;
    }
    if (token->left_strip) start = std::max(space_before(text, start), done);
    if (token->right_strip) end = space_after(text, end);
    if (start > done) segments.push_back({text.substr(done, start - done), nullptr});
    segments.push_back({text.substr(start, end - start), token});
    done = end;
    p = std::max(p, done);
  }
  if (done < text.size()) segments.push_back({text.substr(done), nullptr});
}

}  // namespace carronade
