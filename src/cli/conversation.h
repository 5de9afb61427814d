// A conversation at the terminal: questions, answers and the commands that begin with a slash.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "chat/chat_model.h"
#include "chat/generation_job.h"
#include "cli/answer_printer.h"

namespace carronade {

struct Answer {
  std::string text, thought;
  ChatFinished finished;
  uint64_t seed = 0;
};

// Asks the model and shows what comes. Throws Error.
using Ask = std::function<Answer(const ChatRequest&)>;

// What has been said so far and how it is answered. On one thread; standard error gets all that is not an answer.
class Conversation {
 public:
  Conversation(const ChatModel& model, ChatRequest request, nlohmann::ordered_json settings, AnswerPrinter& printer,
               Ask ask);

  // A question, or a command. False: the end.
  bool take(const std::string& input);

 private:
  struct Command {
    std::string_view name;
    std::string_view arguments;  // for the help
    std::string_view help;
    void (Conversation::*run)(const std::string& argument);
  };
  static const std::vector<Command>& commands();

  void command(const std::string& line);
  void question(const std::string& text);
  void help(const std::string& argument);
  void clear(const std::string& argument);
  void system(const std::string& argument);
  void save(const std::string& argument);
  void load(const std::string& argument);
  void set(const std::string& argument);
  void stats(const std::string& argument);
  void show_thought(const std::string& argument);
  void end(const std::string& argument);
  void set_system(const std::string& text);
  void apply_settings(nlohmann::ordered_json settings);

  const ChatModel& model_;
  ChatRequest request_;              // its messages are the conversation
  nlohmann::ordered_json settings_;  // sampling fields as of the API, and `stop`
  AnswerPrinter& printer_;
  Ask ask_;
  std::optional<Answer> last_;
  bool ended_ = false;
};

// Sampling fields by their names in the API, and `stop`, into a request. Throws Error{kInvalidArgument} naming the
// field.
void apply_settings(const nlohmann::ordered_json& settings, ChatRequest& request);

// A conversation's messages as a file's text, and back. Reading throws Error{kCorruptFile}.
std::string conversation_to_text(const std::string& model, const std::vector<ChatMessage>& messages);
std::vector<ChatMessage> conversation_from_text(std::string_view text);

}  // namespace carronade
