#include "chat/thought.h"

#include <algorithm>

namespace carronade {

namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// How many bytes at the end of `text` may be the beginning of `mark`.
size_t partial_mark(std::string_view text, std::string_view mark) {
  for (size_t size = std::min(text.size(), mark.size() - 1); size > 0; --size) {
    if (text.ends_with(mark.substr(0, size))) return size;
  }
  return 0;
}

void emit(std::vector<AnswerPiece>& out, bool is_thought, std::string_view text) {
  if (text.empty()) return;
  if (!out.empty() && out.back().is_thought == is_thought) {
    out.back().text += text;
  } else {
    out.push_back({is_thought, std::string(text)});
  }
}

}  // namespace

InlineThought split_inline_thought(const ThoughtTags& tags, std::string_view content) {
  const std::string_view text = content.substr(std::min(content.size(), content.find_first_not_of(kSpace)));
  const bool opened = text.starts_with(tags.open);
  const size_t close = text.find(tags.close);
  const bool opened_later = !opened && text.substr(0, close).find(tags.open) != std::string_view::npos;
  if (close == std::string_view::npos || opened_later) return {"", std::string(content)};
  const size_t begin = opened ? tags.open.size() : 0;
  const std::string_view thought = trim(text.substr(begin, close - begin));
  std::string_view answer = text.substr(close + tags.close.size());
  answer.remove_prefix(std::min(answer.size(), answer.find_first_not_of(kSpace)));
  return {std::string(thought), std::string(answer)};
}

ThoughtSplitter::ThoughtSplitter(const ThoughtTags* tags, bool open)
    : tags_(tags),
      state_(!tags  ? State::kAnswer
             : open ? State::kThoughtStart
                    : State::kStart) {}

void ThoughtSplitter::push(std::string_view text, std::vector<AnswerPiece>& out) {
  held_ += text;
  while (step(out)) {
  }
}

void ThoughtSplitter::finish(std::vector<AnswerPiece>& out) {
  if (state_ == State::kThoughtStart || state_ == State::kThought) {
    emit(out, true, std::string_view(held_).substr(0, held_.find_last_not_of(kSpace) + 1));
  } else {
    emit(out, false, held_);
  }
  held_.clear();
}

// One change of state, or false when more text is needed.
bool ThoughtSplitter::step(std::vector<AnswerPiece>& out) {
  switch (state_) {
    case State::kStart:
      return step_start();
    case State::kThoughtStart:
    case State::kThought:
      return step_thought(out);
    case State::kAnswerStart: {
      held_.erase(0, held_.find_first_not_of(kSpace));
      if (held_.empty()) return false;
      state_ = State::kAnswer;
      return true;
    }
    case State::kAnswer:
      break;
  }
  emit(out, false, held_);
  held_.clear();
  return false;
}

bool ThoughtSplitter::step_start() {
  const size_t begin = std::min(held_.size(), held_.find_first_not_of(kSpace));
  const std::string_view rest = std::string_view(held_).substr(begin);
  if (rest.starts_with(tags_->open)) {
    held_.erase(0, begin + tags_->open.size());
    state_ = State::kThoughtStart;
    return true;
  }
  if (std::string_view(tags_->open).starts_with(rest)) return false;
  state_ = State::kAnswer;
  return true;
}

bool ThoughtSplitter::step_thought(std::vector<AnswerPiece>& out) {
  if (state_ == State::kThoughtStart) {
    held_.erase(0, held_.find_first_not_of(kSpace));
    if (held_.empty()) return false;
    // A model may repeat the mark that its prompt has written already.
    if (held_.starts_with(tags_->open)) {
      held_.erase(0, tags_->open.size());
      return true;
    }
    if (std::string_view(tags_->open).starts_with(held_)) return false;
    state_ = State::kThought;
  }
  const size_t close = held_.find(tags_->close);
  if (close != std::string::npos) {
    const size_t last = std::string_view(held_).substr(0, close).find_last_not_of(kSpace);
    emit(out, true, std::string_view(held_).substr(0, last == std::string_view::npos ? 0 : last + 1));
    held_.erase(0, close + tags_->close.size());
    state_ = State::kAnswerStart;
    return true;
  }
  // White space at the end may be the thought's last, and a "<" may begin the closing mark.
  size_t certain = held_.size() - partial_mark(held_, tags_->close);
  certain = certain == 0 ? 0 : std::string_view(held_).substr(0, certain).find_last_not_of(kSpace) + 1;
  emit(out, true, std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return false;
}

}  // namespace carronade
