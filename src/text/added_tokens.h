// Finds added tokens ("<|im_end|>") in a text: leftmost, then longest, as the `tokenizers` library does.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/pipeline.h"

namespace carronade {

// Immutable once made. The tokens given must outlive it.
class AddedTokenMatcher {
 public:
  explicit AddedTokenMatcher(const std::vector<const AddedToken*>& tokens);

  bool empty() const { return tokens_.empty(); }

  struct Segment {
    std::string_view text;
    const AddedToken* token;  // null: ordinary text
  };
  // Cuts `text` into ordinary text and added tokens, special ones only with `parse_special`. Empty segments are left
  // out.
  void partition(std::string_view text, bool parse_special, std::vector<Segment>& segments) const;

 private:
  // The longest token at the start of `text`, or null.
  const AddedToken* match(std::string_view text) const;

  std::vector<const AddedToken*> tokens_;
  struct Node {
    uint32_t first_child = 0;  // 0: none; the root is nobody's child
    uint32_t sibling = 0;
    int32_t token = -1;  // an index of tokens_
    unsigned char byte = 0;
  };
  std::vector<Node> nodes_;
  uint32_t roots_[256] = {};  // the root's children
};

}  // namespace carronade
