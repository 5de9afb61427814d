#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/serve_access.h"

namespace carronade {

namespace {

constexpr const char* kExamples = R"(Examples:
  carronade serve                                  the chat page on http://127.0.0.1:7860, the API on port 8000
  carronade serve qwen2.5-coder-1.5b --port 9000   another model, another port
  carronade run                                    talk in the terminal
  git diff | carronade run smollm2-135m "Write a commit message for this:"
  carronade pull smollm2-135m                      fetch a model; `carronade list` shows the names

`carronade COMMAND --help` explains a command.)";

std::vector<std::string> spellings_of(const CLI::App& app, bool flags) {
  std::vector<std::string> result;
  if (flags) {
    for (const CLI::Option* option : app.get_options()) {
      for (const auto& name : option->get_lnames()) result.push_back("--" + name);
    }
  } else {
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
      result.push_back(command->get_name());
  }
  return result;
}

// One line for what was not understood: what it was, and what was probably meant.
std::string explain_extra(const CLI::App& app, const std::string& extra) {
  const auto chosen = app.get_subcommands();
  const bool is_flag = extra.starts_with('-');
  if (!chosen.empty() && !chosen.front()->get_subcommands().empty()) return explain_extra(*chosen.front(), extra);
  const CLI::App& scope = chosen.empty() ? app : *chosen.front();
  const std::string command = chosen.empty() ? "" : " " + scope.get_name();
  const std::string what = is_flag ? "flag" : chosen.empty() ? "command" : "argument";
  std::string line = "unknown " + what + " " + extra.substr(0, extra.find('='));
  if (!is_flag && !chosen.empty()) line += " for" + command;
  std::string near;
  if (is_flag || chosen.empty()) near = nearest_word(extra.substr(0, extra.find('=')), spellings_of(scope, is_flag));
  if (!near.empty()) line += "; did you mean " + near + "?";
  return line + " (`carronade" + command + " --help` lists what there is)";
}

int fail(const std::string& line, int status) {
  fmt::print(stderr, "carronade: {}\n", line);
  return status;
}

int parse_and_run(CLI::App& app, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ExtrasError&) {
    const auto extras = app.remaining(true);
    return fail(extras.empty() ? "the command line was not understood" : explain_extra(app, extras.front()), 2);
  } catch (const CLI::Success& wanted) {  // help, version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    return fail(error.what(), 2);
  } catch (const Error& error) {
    return fail(error.what(), error.code == ErrorCode::kCancelled ? 130 : 1);
  } catch (const std::system_error& error) {  // files, threads: what the system refused, and why
    return fail(error.what(), 1);
  } catch (const std::exception& error) {
    return fail(std::string("an internal error: ") + error.what(), 1);
  }
  if (app.get_subcommands().empty()) fmt::print("{}", app.help());
  return 0;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app(
      "Carronade: a private assistant on your own hardware. One program fetches a model, runs it, and serves a chat "
      "page\n"
      "and an OpenAI-compatible API.",
      "carronade");
  app.set_version_flag("--version", "carronade " CARRONADE_VERSION);
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(36);
  add_serve_command(app);
  add_run_command(app);
  add_model_commands(app);
  add_show_command(app);
  add_doctor_command(app);
  add_key_command(app);
  add_bench_command(app);
  add_eval_command(app);
  app.footer(kExamples);  // last: a command takes over what its parent has when it is added
  const int status = parse_and_run(app, repeat_api_key(normalize_arguments({argv + 1, argv + argc})));
  // A full disk behind a redirection must not look like success.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return fail("not all of the output could be written", 1);
  return status;
}

}  // namespace carronade
