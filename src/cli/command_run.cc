// carronade run
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "api/openai_json.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "chat/generation_job.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/flag_values.h"
#include "cli/interrupt.h"
#include "cli/kv_cache_dtype.h"
#include "cli/line_editor.h"
#include "cli/open_model.h"
#include "cli/progress_bar.h"

namespace carronade {

namespace {

struct RunFlags {
  std::vector<std::string> words;  // [MODEL] ["prompt"]
  std::string model, system, download_dir, chat_template, revision, dtype = "auto";
  std::optional<float> temperature, top_p;
  std::optional<int> max_tokens;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::string kv_dtype = "auto";
  std::string max_model_len = "0";
  int threads = 0;
  bool json = false, hide_thinking = false;
};

std::atomic<int> interrupts{0};

// Ctrl-C, counted. Without SA_RESTART, so that waiting for a line ends too.
class CountInterrupts {
 public:
  CountInterrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) {
      if (interrupts.fetch_add(1) >= 2) ::_exit(130);  // the second was not heard within a step
    };
    ::sigaction(SIGINT, &action, &before_);
  }
  ~CountInterrupts() { ::sigaction(SIGINT, &before_, nullptr); }
  CountInterrupts(const CountInterrupts&) = delete;
  CountInterrupts& operator=(const CountInterrupts&) = delete;

 private:
  struct sigaction before_ {};
};

// Events come on the engine's thread and are taken on ours.
class EventQueue {
 public:
  void push(ChatEvent event) {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    changed_.notify_one();
  }
  // What there is; possibly nothing, after a moment in which Ctrl-C is looked for.
  std::vector<ChatEvent> take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return !events_.empty(); });
    return std::exchange(events_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ChatEvent> events_;
};

Answer ask(const std::shared_ptr<const ChatModel>& model, const ChatRequest& request, AnswerPrinter& printer) {
  const auto queue = std::make_shared<EventQueue>();
  interrupts = 0;
  printer.begin();
  const auto job = GenerationJob::start(model, request, [queue](ChatEvent event) { queue->push(std::move(event)); });
  Answer answer;
  answer.seed = job->seed();
  for (bool ended = false; !ended;) {
    for (auto& event : queue->take()) {
      if (auto* thought = std::get_if<ReasoningDelta>(&event)) {
        answer.thought += thought->text;
        printer.thought(thought->text);
      } else if (auto* delta = std::get_if<AnswerDelta>(&event)) {
        answer.text += delta->text;
        printer.answer(delta->text);
      } else {
        answer.finished = std::get<ChatFinished>(event);
        ended = true;
      }
    }
    if (interrupts > 0 && !ended) job->cancel();
  }
  printer.end();
  if (answer.finished.error) throw Error(*answer.finished.error);
  return answer;
}

void print_json(const ChatModel& model, const Answer& answer) {
  using Json = nlohmann::ordered_json;
  const ChatUsage& usage = answer.finished.usage;
  const Timing& timing = answer.finished.timing;
  const double rate =
      timing.decode > 0 && usage.completion_tokens > 1 ? (usage.completion_tokens - 1) / timing.decode : 0.0;
  const Json json = {{"model", model.name},
                     {"answer", answer.text},
                     {"reasoning", answer.thought.empty() ? Json(nullptr) : Json(answer.thought)},
                     {"finish_reason", openai_finish_reason(answer.finished.reason)},
                     {"seed", answer.seed},
                     {"usage",
                      {{"prompt_tokens", usage.prompt_tokens},
                       {"cached_tokens", usage.cached_tokens},
                       {"completion_tokens", usage.completion_tokens},
                       {"reasoning_tokens", usage.reasoning_tokens}}},
                     {"timings",
                      {{"queued_seconds", timing.queued},
                       {"prefill_seconds", timing.prefill},
                       {"decode_seconds", timing.decode},
                       {"first_token_seconds", answer.finished.first_token_seconds},
                       {"tokens_per_second", rate}}}};
  fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

// One word is a model unless it looks like a sentence.
void sort_words(RunFlags& flags, std::string& prompt) {
  std::vector<std::string> words = flags.words;
  const auto is_sentence = [](const std::string& word) {
    return word.find_first_of(" \t\n?") != std::string::npos && !std::filesystem::exists(word) &&
           !word.starts_with("http");
  };
  if (flags.model.empty() && !words.empty() && !is_sentence(words.front())) {
    flags.model = words.front();
    words.erase(words.begin());
  }
  for (const auto& word : words) prompt += (prompt.empty() ? "" : " ") + word;
}

// What is piped in belongs to the prompt, below what the command line says.
void add_standard_input(std::string& prompt) {
  if (::isatty(STDIN_FILENO) == 1) return;
  std::string input{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  while (input.ends_with('\n')) input.pop_back();
  if (input.empty()) return;
  prompt += (prompt.empty() ? "" : "\n\n") + input;
}

nlohmann::ordered_json settings_of(const RunFlags& flags) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  if (flags.temperature) settings["temperature"] = *flags.temperature;
  if (flags.top_p) settings["top_p"] = *flags.top_p;
  if (flags.max_tokens) settings["max_tokens"] = *flags.max_tokens;
  if (flags.seed) settings["seed"] = *flags.seed;
  if (!flags.stop.empty()) settings["stop"] = flags.stop;
  return settings;
}

ChatRequest base_request(const RunFlags& flags) {
  ChatRequest request;
  apply_settings(settings_of(flags), request);
  if (!flags.system.empty()) request.messages.push_back({"system", flags.system, std::nullopt, ""});
  return request;
}

constexpr std::string_view kQuotes = "\"\"\"";

// One input: a line, or several between triple quotes or joined by a backslash at their ends.
LineEditor::Input read_input(LineEditor& editor, std::string& input) {
  std::string line;
  LineEditor::Input result = editor.read(">>> ", input);
  if (result != LineEditor::Input::kLine) return result;
  const bool quoted = input.starts_with(kQuotes);
  if (quoted) input.erase(0, kQuotes.size());
  while (quoted ? !input.ends_with(kQuotes) : input.ends_with('\\')) {
    result = editor.read("... ", line);
    if (result != LineEditor::Input::kLine) return result;
    if (!quoted) input.pop_back();
    input += "\n" + line;
  }
  if (quoted) input.resize(input.size() - kQuotes.size());
  return result;
}

void converse(const std::shared_ptr<const ChatModel>& model, const RunFlags& flags, AnswerPrinter& printer) {
  fmt::print(stderr, "{} · /help for help, Ctrl-C stops an answer, Ctrl-D ends\n", model->name);
  Conversation conversation(*model, base_request(flags), settings_of(flags), printer,
                            [&](const ChatRequest& request) { return ask(model, request, printer); });
  LineEditor editor(default_data_dir() / "history");
  std::string input;
  while (true) {
    const LineEditor::Input result = read_input(editor, input);
    if (result == LineEditor::Input::kEnd) break;
    if (result == LineEditor::Input::kInterrupted) {
      fmt::print(stderr, "\n(Ctrl-D or /bye ends)\n");
      continue;
    }
    if (input.find_first_not_of(" \t\n") != std::string::npos) editor.remember(input);
    if (!conversation.take(input)) return;
  }
  fmt::print(stderr, "\n");
}

std::shared_ptr<LoadedModel> open(const RunFlags& flags) {
  OpenModelOptions options;
  options.model = flags.model;
  options.download_dir = flags.download_dir;
  options.chat_template = flags.chat_template;
  options.revision = flags.revision;
  options.dtype = flags.dtype;
  options.load.backend.threads = flags.threads;
  options.load.engine.max_model_len = parse_model_length(flags.max_model_len);
  options.load.engine.kv_dtype = parse_kv_cache_dtype(flags.kv_dtype);
  options.load.engine.max_num_seqs = 1;
  options.load.engine.speculative_tokens = kGuessedTokens;
  const InterruptScope interrupt;
  ProgressBar progress(flags.json);
  return open_model(options, interrupt.token(), progress, {});
}

void run(RunFlags flags) {
  set_up_logging("warn");
  std::string prompt;
  sort_words(flags, prompt);
  add_standard_input(prompt);
  const bool interactive = prompt.empty() && ::isatty(STDIN_FILENO) == 1;
  if (prompt.empty() && !interactive)
    throw Error(ErrorCode::kInvalidArgument, "there is nothing to ask: standard input is empty", "prompt");
  if (interactive && flags.json)
    throw Error(ErrorCode::kInvalidArgument, "--json needs a prompt, as an argument or on standard input", "--json");

  const auto model = make_chat_model(open(flags));
  const CountInterrupts counting;
  AnswerPrinter printer(
      AnswerPrinter::options_for(flags.json, flags.hide_thinking ? ThoughtView::kHide : ThoughtView::kFold));
  if (interactive) return converse(model, flags, printer);
  ChatRequest request = base_request(flags);
  request.messages.push_back({"user", prompt, std::nullopt, ""});
  const Answer answer = ask(model, request, printer);
  if (flags.json) print_json(*model, answer);
  if (answer.finished.reason == FinishReason::kCancelled) throw Error(ErrorCode::kCancelled, "stopped");
}

}  // namespace

void add_run_command(CLI::App& app) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = app.add_subcommand("run", "Talk with a model in the terminal, or ask it once");
  command
      ->add_option("words", flags->words,
                   "A model (default: the default model), then a prompt; without a prompt, a conversation")
      ->type_name("[MODEL] [PROMPT]");
  command->add_option("-m,--model", flags->model, "The model, when all words are the prompt")->type_name("MODEL");
  command->add_option("--system", flags->system, "What the model is told before the conversation")->type_name("TEXT");
  command->add_option("--temperature", flags->temperature, "0: always the most probable word");
  command->add_option("--top-p", flags->top_p, "Draw from the most probable words that together have this probability");
  command->add_option("--max-tokens", flags->max_tokens, "End the answer after so many tokens");
  command->add_option("--seed", flags->seed, "The same seed gives the same answer");
  command->add_option("--stop", flags->stop, "Text that ends the answer; may be given again")
      ->expected(1)
      ->type_name("TEXT");
  command
      ->add_option("--max-model-len", flags->max_model_len,
                   "Tokens of the conversation: 8192, 8k, 8K, or auto for as many as there is room for (default: the "
                   "model's, at most 4096)")
      ->type_name("TOKENS");
  command->add_option("--kv-cache-dtype", flags->kv_dtype, kKvCacheDtypeHelp);
  command->add_option("--threads", flags->threads, "Threads to compute with (default: all there are)");
  command->add_option("--download-dir", flags->download_dir, "Folder of the models (default: the cache folder)")
      ->type_name("DIR");
  command->add_option("--chat-template", flags->chat_template, "Jinja template instead of the model's own")
      ->type_name("FILE");
  command->add_option("--dtype", flags->dtype, kDtypeHelp)->type_name("TYPE");
  command->add_option("--revision", flags->revision, kRevisionHelp)->type_name("REVISION");
  command->add_flag("--hide-thinking", flags->hide_thinking, "Show the answer only");
  command->add_flag("--json", flags->json, "Print one JSON object: answer, reasoning, usage, timings");
  command->footer(R"(Examples:
  carronade run                                          a conversation with the default model
  carronade run smollm2-135m "Name three rivers."
  cat notes.txt | carronade run "Summarize this:"
  carronade run smollm2-135m "2+2?" --temperature 0 --json)");
  command->callback([flags] { run(*flags); });
}

}  // namespace carronade
