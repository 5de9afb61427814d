#include "cli/conversation.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include <fmt/format.h>

#include "api/json_fields.h"
#include "api/request_fields.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/arguments.h"

namespace carronade {

namespace {

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\n") + 1 - begin));
}

// "travel" → the user's own folder; what looks like a path is one.
std::filesystem::path conversation_file(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".json")) return name;
  return default_data_dir() / "conversations" / (name + ".json");
}

std::string saved_names() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(default_data_dir() / "conversations", ignored)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none yet" : text;
}

// A value as people type it: JSON where it is, else text.
Json value_of(const std::string& text) {
  const Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

}  // namespace

void apply_settings(const Json& settings, ChatRequest& request) {
  Json sampling = settings;
  std::vector<std::string> stop;
  if (const auto found = sampling.find("stop"); found != sampling.end()) {
    if (found->is_string()) {
      stop = {found->get<std::string>()};
    } else if (found->is_array() && std::ranges::all_of(*found, [](const Json& one) { return one.is_string(); })) {
      stop = found->get<std::vector<std::string>>();
    } else {
      throw Error(ErrorCode::kInvalidArgument, "stop must be a text or a list of texts", "stop");
    }
    sampling.erase("stop");
  }
  request.sampling = parse_sampling_options(sampling.dump(-1, ' ', false, Json::error_handler_t::replace));
  request.stop = std::move(stop);
}

std::string conversation_to_text(const std::string& model, const std::vector<ChatMessage>& messages) {
  Json json = {{"model", model}, {"messages", Json::array()}};
  for (const ChatMessage& message : messages) {
    Json one = {{"role", message.role}, {"content", message.content}};
    if (message.reasoning && !message.reasoning->empty()) one["reasoning"] = *message.reasoning;
    json["messages"].push_back(std::move(one));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<ChatMessage> conversation_from_text(std::string_view text) {
  try {
    const Json json = parse_json_object(text, "the file");
    const JsonFields fields(json);
    fields.require("messages");
    const Json& list = *fields.array("messages");
    std::vector<ChatMessage> messages;
    for (size_t i = 0; i < list.size(); ++i) {
      const JsonFields one(list[i], fmt::format("messages[{}].", i));
      one.require("role");
      one.require("content");
      ChatMessage message{*one.string("role"), *one.string("content"), one.string("reasoning"), ""};
      if (message.role != "system" && message.role != "user" && message.role != "assistant")
        one.fail("role", "must be system, user or assistant, not \"" + message.role + "\"");
      messages.push_back(std::move(message));
    }
    return messages;
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorruptFile, std::string("this is no conversation: ") + error.what());
  }
}

Conversation::Conversation(const ChatModel& model, ChatRequest request, Json settings, AnswerPrinter& printer, Ask ask)
    : model_(model),
      request_(std::move(request)),
      settings_(std::move(settings)),
      printer_(printer),
      ask_(std::move(ask)) {}

const std::vector<Conversation::Command>& Conversation::commands() {
  static const std::vector<Command> commands = {
      {"/help", "", "this list", &Conversation::help},
      {"/clear", "", "begin a new conversation; the system prompt stays", &Conversation::clear},
      {"/system", "[TEXT]", "show or set what the model is told before the conversation", &Conversation::system},
      {"/save", "NAME", "keep the conversation; a name, or a path that ends in .json", &Conversation::save},
      {"/load", "NAME", "go on with one that was kept", &Conversation::load},
      {"/set", "[NAME VALUE]", "show or change how answers are drawn; VALUE default takes it back", &Conversation::set},
      {"/stats", "", "tokens and times of the last answer", &Conversation::stats},
      {"/thought", "", "the thought behind the last answer", &Conversation::show_thought},
      {"/bye", "", "end (also /exit, /quit, Ctrl-D)", &Conversation::end},
  };
  return commands;
}

bool Conversation::take(const std::string& input) {
  const std::string text = trimmed(input);
  if (text.empty()) return true;
  try {
    // A path such as /etc/hosts in a question is no command: those are one word of letters.
    const std::string word = text.substr(0, text.find_first_of(" \t\n"));
    if (word.size() > 1 && word[0] == '/' && word.find_first_not_of("abcdefghijklmnopqrstuvwxyz?", 1) == word.npos) {
      command(text);
    } else {
      question(text);
    }
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return !ended_;
}

void Conversation::command(const std::string& line) {
  const size_t space = std::min(line.find_first_of(" \t\n"), line.size());
  std::string name = line.substr(0, space);
  if (name == "/exit" || name == "/quit") name = "/bye";
  if (name == "/?") name = "/help";
  for (const Command& command : commands()) {
    if (command.name == name) return (this->*command.run)(trimmed(std::string_view(line).substr(space)));
  }
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  const std::string near = nearest_word(name, names);
  fmt::print(stderr, "There is no {}{}; /help lists what there is.\n", name,
             near.empty() ? "" : fmt::format(": did you mean {}?", near));
}

void Conversation::question(const std::string& text) {
  request_.messages.push_back({"user", text, std::nullopt, ""});
  try {
    last_ = ask_(request_);
  } catch (const Error&) {
    request_.messages.pop_back();
    throw;
  }
  request_.messages.push_back({"assistant", last_->text, last_->thought, ""});
}

void Conversation::help(const std::string&) {
  for (const Command& command : commands())
    fmt::print(stderr, "  {:<22}{}\n", fmt::format("{} {}", command.name, command.arguments), command.help);
  fmt::print(
      stderr,
      "Several lines: begin and end with \"\"\", end a line with \\, or press Alt-Enter. Ctrl-C stops an answer.\n");
}

void Conversation::clear(const std::string&) {
  std::erase_if(request_.messages, [](const ChatMessage& message) { return message.role != "system"; });
  last_.reset();
  fmt::print(stderr, "A new conversation.\n");
}

void Conversation::set_system(const std::string& text) {
  std::erase_if(request_.messages, [](const ChatMessage& message) { return message.role == "system"; });
  request_.messages.insert(request_.messages.begin(), {"system", text, std::nullopt, ""});
}

void Conversation::system(const std::string& argument) {
  if (!argument.empty()) {
    set_system(argument);
    fmt::print(stderr, "From the next question on the model is told this.\n");
    return;
  }
  const bool has_one = !request_.messages.empty() && request_.messages.front().role == "system";
  fmt::print(stderr, "{}\n",
             has_one ? request_.messages.front().content : "There is no system prompt but the model's own.");
}

void Conversation::save(const std::string& argument) {
  if (argument.empty()) throw Error(ErrorCode::kInvalidArgument, "/save needs a name; kept so far: " + saved_names());
  const std::filesystem::path file = conversation_file(argument);
  if (file.has_parent_path()) make_folders(file.parent_path());
  write_file_atomically(file, conversation_to_text(model_.name, request_.messages), 0600);
  fmt::print(stderr, "Kept in {}\n", file.string());
}

void Conversation::load(const std::string& argument) {
  if (argument.empty()) throw Error(ErrorCode::kInvalidArgument, "/load needs a name; kept so far: " + saved_names());
  const std::filesystem::path file = conversation_file(argument);
  if (!std::filesystem::exists(file)) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no {}; kept so far: {}", file.string(), saved_names()));
  }
  request_.messages = conversation_from_text(read_file(file));
  last_.reset();
  fmt::print(stderr, "{} messages. The last:\n", request_.messages.size());
  for (size_t i = request_.messages.size() - std::min<size_t>(2, request_.messages.size());
       i < request_.messages.size(); ++i)
    fmt::print(stderr, "\033[2m{}: {}\033[0m\n", request_.messages[i].role, harmless(request_.messages[i].content));
}

void Conversation::apply_settings(Json settings) {
  carronade::apply_settings(settings, request_);
  settings_ = std::move(settings);
}

void Conversation::set(const std::string& argument) {
  const size_t space = std::min(argument.find_first_of(" \t"), argument.size());
  const std::string name = argument.substr(0, space), value = trimmed(std::string_view(argument).substr(space));
  if (name.empty()) {
    for (const auto& [key, setting] : settings_.items()) fmt::print(stderr, "  {:<22}{}\n", key, setting.dump());
    fmt::print(stderr,
               "  thinking              {}\nNames are the API's: temperature, top_p, top_k, min_p, seed, max_tokens, "
               "repetition_penalty, stop, …; thinking: fold, show or hide.\n",
               printer_.thought_view() == ThoughtView::kFold   ? "fold"
               : printer_.thought_view() == ThoughtView::kShow ? "show"
                                                               : "hide");
    return;
  }
  if (value.empty()) throw Error(ErrorCode::kInvalidArgument, "/set " + name + " needs a value, or default");
  if (name == "thinking") {
    if (value != "fold" && value != "show" && value != "hide" && value != "default")
      throw Error(ErrorCode::kInvalidArgument, "thinking is fold, show or hide");
    printer_.set_thought_view(value == "show"   ? ThoughtView::kShow
                              : value == "hide" ? ThoughtView::kHide
                                                : ThoughtView::kFold);
    return;
  }
  Json settings = settings_;
  if (value == "default") {
    if (settings.erase(name) == 0) throw Error(ErrorCode::kInvalidArgument, name + " is not set");
  } else {
    settings[name] = value_of(value);
  }
  apply_settings(std::move(settings));
}

void Conversation::stats(const std::string&) {
  if (!last_) {
    fmt::print(stderr, "There is no answer yet.\n");
    return;
  }
  const ChatUsage& usage = last_->finished.usage;
  const Timing& timing = last_->finished.timing;
  fmt::print(stderr, "  prompt    {} tokens, {} of them cached, in {}\n", usage.prompt_tokens, usage.cached_tokens,
             duration_text(timing.prefill));
  fmt::print(stderr, "  answer    {} tokens, {} of them thought, in {}", usage.completion_tokens,
             usage.reasoning_tokens, duration_text(timing.decode));
  if (timing.decode > 0 && usage.completion_tokens > 1)
    fmt::print(stderr, " ({:.1f} tokens/s)", (usage.completion_tokens - 1) / timing.decode);
  fmt::print(stderr, "\n  first     word after {}\n  context   {} of {} tokens\n  seed      {}\n",
             duration_text(last_->finished.first_token_seconds), usage.prompt_tokens + usage.completion_tokens,
             model_.max_model_len, last_->seed);
}

void Conversation::show_thought(const std::string&) {
  const bool thought = last_ && !last_->thought.empty();
  fmt::print(stderr, "{}\n",
             thought ? "\033[2m" + harmless(last_->thought) + "\033[0m" : "The last answer has no thought.");
}

void Conversation::end(const std::string&) { ended_ = true; }

}  // namespace carronade
