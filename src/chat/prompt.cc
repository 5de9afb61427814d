#include "chat/prompt.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "chat/thought.h"

namespace carronade {

namespace {

using Json = nlohmann::ordered_json;

// Bytes of the UTF-8 character that starts with this byte; 1 for one that starts none.
size_t character_size(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte >= 0xf0) return 4;
  if (byte >= 0xe0) return 3;
  return byte >= 0xc0 ? 2 : 1;
}

std::string private_use_character(char32_t code) {  // planes 15 and 16: four bytes
  return {static_cast<char>(0xf0 | (code >> 18)), static_cast<char>(0x80 | ((code >> 12) & 0x3f)),
          static_cast<char>(0x80 | ((code >> 6) & 0x3f)), static_cast<char>(0x80 | (code & 0x3f))};
}

// Finds special tokens' spellings in texts. They are looked up by their first byte, longest first.
class SpecialFinder {
 public:
  explicit SpecialFinder(const std::vector<std::string>& spellings) : spellings_(spellings) {
    for (size_t i = 0; i < spellings.size(); ++i)
      by_first_byte_[static_cast<unsigned char>(spellings[i][0])].push_back(i);
  }

  // The longest spelling that starts at `position` and is accepted; empty when there is none.
  template <typename Accept>
  std::string_view match(std::string_view text, size_t position, Accept&& accept) const {
    for (const size_t i : by_first_byte_[static_cast<unsigned char>(text[position])]) {
      const std::string& spelling = spellings_[i];
      if (text.substr(position).starts_with(spelling) && accept(spelling.size())) return spelling;
    }
    return {};
  }

  // Where marks must stand in a user's text so that no spelling can come of it, alone or together with what stands
  // around it; ascending.
  std::vector<size_t> mark_positions(std::string_view text) const {
    std::vector<size_t> positions;
    if (text.empty()) return positions;
    if (could_end_a_spelling(text)) positions.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (by_first_byte_[static_cast<unsigned char>(text[i])].empty()) continue;
      const bool whole = !match(text, i, [](size_t) { return true; }).empty();
      if (whole || could_begin_a_spelling(text.substr(i))) {
        positions.push_back(std::min(text.size(), i + character_size(text[i])));
      }
    }
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
    return positions;
  }

 private:
  // `tail`, the rest of the text, is a proper prefix of a spelling.
  bool could_begin_a_spelling(std::string_view tail) const {
    return std::ranges::any_of(by_first_byte_[static_cast<unsigned char>(tail[0])], [&](size_t i) {
      return tail.size() < spellings_[i].size() && std::string_view(spellings_[i]).starts_with(tail);
    });
  }

  // The text begins with a proper suffix of a spelling.
  bool could_end_a_spelling(std::string_view text) const {
    return std::ranges::any_of(spellings_, [&](std::string_view spelling) {
      for (size_t cut = 1; cut < spelling.size(); ++cut) {
        if (text.starts_with(spelling.substr(cut))) return true;
      }
      return false;
    });
  }

  const std::vector<std::string>& spellings_;
  std::array<std::vector<size_t>, 256> by_first_byte_;
};

template <typename Visit>
void for_each_string(const Json& value, Visit&& visit) {
  if (value.is_string()) {
    visit(value.get_ref<const std::string&>());
  } else if (value.is_structured()) {
    for (const auto& [key, item] : value.items()) {
      if (value.is_object()) visit(key);
      for_each_string(item, visit);
    }
  }
}

// A copy with every string, keys included, passed through `change`.
template <typename Change>
Json map_strings(const Json& value, Change&& change) {
  if (value.is_string()) return change(value.get_ref<const std::string&>());
  if (value.is_array()) {
    Json result = Json::array();
    for (const auto& item : value) result.push_back(map_strings(item, change));
    return result;
  }
  if (value.is_object()) {
    Json result = Json::object();
    for (const auto& [key, item] : value.items()) result[change(key)] = map_strings(item, change);
    return result;
  }
  return value;
}

// A character that occurs in neither the request nor the template.
std::string choose_mark(const Json& user_values, std::string_view source) {
  std::string everything(source);
  for_each_string(user_values, [&](const std::string& text) { everything += text; });
  for (char32_t code = 0xf0000; code < 0x10fffe; ++code) {
    std::string mark = private_use_character(code);
    if (everything.find(mark) == std::string::npos) return mark;
  }
  throw Error(ErrorCode::kInvalidArgument, "the messages use every private-use character there is; remove some of them",
              "messages");
}

std::string with_marks(std::string_view text, const std::vector<size_t>& positions, std::string_view mark) {
  std::string result;
  result.reserve(text.size() + positions.size() * mark.size());
  size_t from = 0;
  for (const size_t position : positions) {
    result.append(text.substr(from, position - from)).append(mark);
    from = position;
  }
  return result.append(text.substr(from));
}

struct Unmarked {
  std::string text;
  std::vector<size_t> positions;  // ascending
};

Unmarked without_marks(std::string_view text, std::string_view mark) {
  Unmarked result;
  for (size_t from = 0;;) {
    const size_t at = text.find(mark, from);
    result.text.append(text.substr(from, at == std::string_view::npos ? at : at - from));
    if (at == std::string_view::npos) return result;
    result.positions.push_back(result.text.size());
    from = at + mark.size();
  }
}

// A mark stands strictly inside [begin, end).
bool marked_inside(const std::vector<size_t>& positions, size_t begin, size_t end) {
  const auto next = std::ranges::upper_bound(positions, begin);
  return next != positions.end() && *next < end;
}

// Case 2 of the header: the stretches with marks in them are plain text, all else may hold control tokens.
std::vector<TokenId> encode_marked(const Tokenizer& tokenizer, const SpecialFinder& finder, const Unmarked& rendered) {
  const std::string_view text = rendered.text;
  std::vector<TokenId> tokens;
  const auto append = [&](size_t begin, size_t end, bool parse_special) {
    if (begin == end) return;
    const auto part =
        tokenizer.encode(text.substr(begin, end - begin), {.add_special = false, .parse_special = parse_special});
    tokens.insert(tokens.end(), part.begin(), part.end());
  };

  size_t encoded = 0;      // everything before is in `tokens`
  size_t plain_begin = 0;  // end of the last control token
  const auto end_of_plain = [&](size_t end) {
    if (!marked_inside(rendered.positions, plain_begin, end)) return;
    append(encoded, plain_begin, true);
    append(plain_begin, end, false);
    encoded = end;
  };
  for (size_t i = 0; i < text.size();) {
    const auto spelling =
        finder.match(text, i, [&](size_t size) { return !marked_inside(rendered.positions, i, i + size); });
    if (spelling.empty()) {
      ++i;
      continue;
    }
    end_of_plain(i);
    i += spelling.size();
    plain_begin = i;
  }
  end_of_plain(text.size());
  append(encoded, text.size(), true);
  return tokens;
}

Json message_json(const ChatModel& model, const ChatMessage& message) {
  static constexpr std::array kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, message.role) == kRoles.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "a message's role must be system, developer, user, assistant or tool, not \"" + message.role + "\"",
                "messages");
  }
  std::string role = message.role;
  if (role == "developer" && model.chat_template->source().find("developer") == std::string::npos) role = "system";

  Json json = {{"role", role}, {"content", message.content}};
  if (!message.name.empty()) json["name"] = message.name;
  if (role != "assistant") return json;
  std::optional<std::string> reasoning = message.reasoning;
  if (model.thought) {
    InlineThought parts = split_inline_thought(*model.thought, message.content);
    json["content"] = parts.answer;
    if (!reasoning && !parts.thought.empty()) reasoning = parts.thought;
  }
  if (reasoning) json["reasoning_content"] = *reasoning;
  return json;
}

bool ends_in_thought(const ChatModel& model, std::string_view text) {
  if (!model.thought) return false;
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end != std::string_view::npos && text.substr(0, end + 1).ends_with(model.thought->open);
}

// Every variable that comes from outside: messages, documents and arguments.
Json user_variables(const ChatModel& model, const PromptRequest& conversation) {
  Json list = Json::array();
  for (const auto& message : conversation.messages) list.push_back(message_json(model, message));
  Json variables = model.template_arguments;
  for (const auto& [key, value] : conversation.template_arguments.items()) {
    static constexpr std::array kReserved = {"messages",  "tools",    "documents", "add_generation_prompt",
                                             "bos_token", "eos_token"};
    if (std::ranges::find(kReserved, key) != kReserved.end()) {
      throw Error(ErrorCode::kInvalidArgument, "chat_template_kwargs must not set " + key, "chat_template_kwargs");
    }
    variables[key] = value;
  }
  variables["messages"] = std::move(list);
  variables["documents"] = conversation.documents.empty() ? Json(nullptr) : conversation.documents;
  return variables;
}

std::string render(const ChatModel& model, Json variables, bool add_generation_prompt) {
  const auto spelling = [&](TokenId id) {
    return id < 0 ? std::string() : std::string(model.tokenizer->token_bytes(id));
  };
  variables["tools"] = nullptr;
  variables["add_generation_prompt"] = add_generation_prompt;
  variables["bos_token"] = spelling(model.tokenizer->data().bos);
  variables["eos_token"] = spelling(model.tokenizer->data().eos);
  try {
    return model.chat_template->render(variables);
  } catch (const Error& error) {
    throw Error(error.code, "the model's chat template refused the messages: " + std::string(error.what()), "messages");
  }
}

// What of an assistant's message that is continued opens its thought: the mark and the white space before it. Nothing
// where the thought has ended.
std::string_view opened_thought(const ChatModel& model, const PromptRequest& conversation) {
  if (!conversation.continue_last || !model.thought || conversation.messages.back().role != "assistant") return {};
  const std::string_view content = conversation.messages.back().content;
  const size_t begin = std::min(content.size(), content.find_first_not_of(" \t\r\n"));
  const ThoughtTags& tags = *model.thought;
  if (!content.substr(begin).starts_with(tags.open) || content.find(tags.close) != std::string_view::npos) return {};
  return content.substr(0, begin + tags.open.size());
}

// Puts a mark behind the last message, where the prompt is to end.
std::string mark_end(Json& variables, std::string_view source) {
  std::string mark = choose_mark(variables, source);
  Json& content = variables["messages"].back()["content"];
  content = content.get<std::string>() + mark;
  return mark;
}

void cut_at(std::string& text, std::string_view mark) {
  const size_t end = text.rfind(mark);
  if (end == std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "continue_final_message: the model's chat template does not show the last message",
                "continue_final_message");
  }
  text.resize(end);
}

void check_conversation(const ChatModel& model, const PromptRequest& conversation) {
  if (!model.chat_template) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the model " + model.name + " has no chat template, so it cannot chat; give one with --chat-template FILE",
        "model");
  }
  if (conversation.messages.empty())
    throw Error(ErrorCode::kInvalidArgument, "messages must hold at least one message", "messages");
  if (conversation.continue_last && conversation.add_generation_prompt) {
    throw Error(ErrorCode::kInvalidArgument, "continue_final_message and add_generation_prompt exclude each other",
                "continue_final_message");
  }
  if (!conversation.documents.empty() && model.chat_template->source().find("documents") == std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "documents: this model's chat template has no place for them; put them into a message", "documents");
  }
}

}  // namespace

Prompt build_prompt(const ChatModel& model, const PromptRequest& conversation) {
  check_conversation(model, conversation);
  Json variables = user_variables(model, conversation);
  const SpecialFinder finder(model.special_spellings);
  bool clean = true;
  for_each_string(variables, [&](const std::string& text) { clean = clean && finder.mark_positions(text).empty(); });
  const std::string& source = model.chat_template->source();
  const std::string end = conversation.continue_last ? mark_end(variables, source) : std::string();
  const std::string_view opened = opened_thought(model, conversation);

  Prompt prompt;
  std::string text;
  if (clean) {
    text = render(model, variables, conversation.add_generation_prompt);
    if (!end.empty()) cut_at(text, end);
    prompt.tokens = model.tokenizer->encode(text, {.add_special = false, .parse_special = true});
  } else {
    const std::string mark = choose_mark(variables, source);
    const auto guard = [&](const std::string& value) { return with_marks(value, finder.mark_positions(value), mark); };
    // A role is one of a few known words and a key is what the template asks for by name, so neither is ever changed in
    // practice.
    Json marked = map_strings(variables, guard);
    if (!opened.empty()) {
      const auto content = variables["messages"].back()["content"].get<std::string>();
      marked["messages"].back()["content"] = std::string(opened) + guard(content.substr(opened.size()));
    }
    std::string rendered = render(model, marked, conversation.add_generation_prompt);
    if (!end.empty()) cut_at(rendered, end);
    Unmarked unmarked = without_marks(rendered, mark);
    prompt.tokens = encode_marked(*model.tokenizer, finder, unmarked);
    text = std::move(unmarked.text);
  }
  // A model whose tokenizer begins every text with a token was trained so; templates that leave it out expect the
  // tokenizer to add it.
  const TokenizerData& data = model.tokenizer->data();
  if (data.add_bos && data.bos >= 0 && (prompt.tokens.empty() || prompt.tokens.front() != data.bos)) {
    prompt.tokens.insert(prompt.tokens.begin(), data.bos);
  }
  prompt.thought_open = !opened.empty() || (!conversation.continue_last && ends_in_thought(model, text));
  return prompt;
}

}  // namespace carronade
