// Reading chat-completion requests.
#include <algorithm>
#include <array>

#include "api/chat_completions.h"

namespace carronade {

namespace {

// A message's text: a string, or parts of type text. Parts are joined by line ends, as vLLM does.
std::string read_content(const JsonFields& message, const std::string& path, bool required) {
  const Json* content = message.find("content");
  if (!content) {
    if (required) message.fail("content", "is required");
    return {};
  }
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array())
    message.fail("content", "must be a string or an array of parts, not " + json_kind(*content));
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const JsonFields part((*content)[i], path + "content[" + std::to_string(i) + "].");
    const std::string type = part.string("type").value_or("text");
    const char* field = type == "refusal" ? "refusal" : "text";
    if (type != "text" && type != "input_text" && type != "refusal") {
      part.fail("type", "\"" + type + "\" is not supported: this model reads text only");
    }
    const auto value = part.string(field);
    if (!value) part.fail(field, "is required");
    if (i > 0) text += '\n';
    text += *value;
  }
  return text;
}

ChatMessage read_message(const Json& json, const std::string& path) {
  static constexpr std::array<std::string_view, 10> kKnown = {
      "role",         "content", "name",       "reasoning",   "reasoning_content",
      "tool_call_id", "refusal", "tool_calls", "annotations", "audio"};
  const JsonFields fields(json, path);
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(kKnown, std::string_view(name)) == kKnown.end() && !value.is_null()) {
      throw Error(ErrorCode::kInvalidArgument, "unknown field " + path + shown_name(name), path + shown_name(name));
    }
  }
  for (const char* name : {"tool_calls", "audio"}) {
    const Json* value = fields.find(name);
    if (value && !(value->is_array() && value->empty())) fields.fail(name, "is not supported by this version");
  }
  ChatMessage message;
  fields.require("role");
  message.role = *fields.string("role");
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, std::string_view(message.role)) == kRoles.end()) {
    fields.fail("role", "must be system, developer, user, assistant or tool, not \"" + message.role + "\"");
  }
  message.reasoning = fields.string("reasoning");
  if (!message.reasoning) message.reasoning = fields.string("reasoning_content");
  const bool may_be_empty = message.role == "assistant" && message.reasoning;
  message.content = read_content(fields, path, !may_be_empty);
  message.name = fields.string("name").value_or("");
  fields.string("tool_call_id");
  return message;
}

// How much to think. Templates that know the word get it; besides, a thought gets so many tokens at most. Where a
// request says more exactly what it wants (thinking_token_budget, chat_template_kwargs), that holds.
void read_reasoning_effort(const JsonFields& fields, ChatRequest& request) {
  struct Effort {
    std::string_view name;
    std::optional<int> budget;
  };
  static constexpr std::array<Effort, 7> kEfforts = {{{"none", 0},
                                                      {"minimal", 0},
                                                      {"low", 512},
                                                      {"medium", 2048},
                                                      {"high", std::nullopt},
                                                      {"xhigh", std::nullopt},
                                                      {"max", std::nullopt}}};
  const auto effort = fields.string("reasoning_effort");
  if (!effort) return;
  const auto known = std::ranges::find(kEfforts, *effort, &Effort::name);
  if (known == kEfforts.end())
    fields.fail("reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max, not \"" + *effort + "\"");
  auto& arguments = request.template_arguments;
  if (!arguments.contains("reasoning_effort")) arguments["reasoning_effort"] = *effort;
  if (!arguments.contains("enable_thinking")) arguments["enable_thinking"] = known->budget != 0;
  if (!request.thinking_budget) request.thinking_budget = known->budget;
}

void read_documents(const JsonFields& fields, PromptRequest& conversation) {
  const Json* documents = fields.array("documents");
  if (!documents) return;
  for (size_t i = 0; i < documents->size(); ++i) {
    const std::string path = "documents[" + std::to_string(i) + "]";
    const JsonFields document((*documents)[i], path + ".");
    for (const auto& [name, value] : (*documents)[i].items()) {
      if (!value.is_string()) document.fail(shown_name(name), "must be a string, not " + json_kind(value));
    }
  }
  conversation.documents = *documents;
}

std::vector<ChatMessage> read_messages(const JsonFields& fields) {
  fields.require("messages");
  const Json& messages = *fields.array("messages");
  if (messages.empty()) fields.fail("messages", "must hold at least one message");
  std::vector<ChatMessage> result;
  for (size_t i = 0; i < messages.size(); ++i)
    result.push_back(read_message(messages[i], "messages[" + std::to_string(i) + "]."));
  return result;
}

}  // namespace

PromptRequest read_prompt_request(const JsonFields& fields) {
  PromptRequest conversation;
  conversation.messages = read_messages(fields);
  if (const Json* arguments = fields.object("chat_template_kwargs")) conversation.template_arguments = *arguments;
  read_documents(fields, conversation);
  const auto new_turn = fields.boolean("add_generation_prompt");
  conversation.continue_last = fields.boolean("continue_final_message").value_or(false);
  if (conversation.continue_last && new_turn.value_or(false))
    fields.fail("continue_final_message", "and add_generation_prompt exclude each other");
  conversation.add_generation_prompt = new_turn.value_or(!conversation.continue_last);
  return conversation;
}

ChatCompletionCall parse_chat_completion(std::string_view body) {
  return read_chat_completion(parse_json_object(body));
}

ChatCompletionCall read_chat_completion(const Json& json) {
  check_fields(chat_completion_fields(), json);
  const JsonFields fields(json);

  ChatCompletionCall call;
  call.reply = read_reply_options(fields);
  static_cast<GenerationOptions&>(call.request) = read_generation_options(fields);
  static_cast<PromptRequest&>(call.request) = read_prompt_request(fields);
  SamplingOptions& sampling = call.request.sampling;
  if (sampling.max_tokens == 0) fields.fail("max_tokens", "must be at least 1");
  const bool logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0 && !logprobs) fields.fail("top_logprobs", "needs logprobs to be true");
  if (logprobs) sampling.logprobs = static_cast<int>(top.value_or(0));
  call.request.thinking_budget = small_integer(fields, "thinking_token_budget", -1);
  read_reasoning_effort(fields, call.request);
  if (call.request.thinking_budget == -1) call.request.thinking_budget.reset();
  call.include_reasoning = fields.boolean("include_reasoning").value_or(true);
  call.prompt_text = fields.boolean("return_prompt_text").value_or(false);
  const ChatMessage& last = call.request.messages.back();
  if (!call.request.add_generation_prompt) call.role = last.role;
  if (fields.boolean("echo").value_or(false) && last.role == call.role) call.echo = last.content;
  return call;
}

}  // namespace carronade
