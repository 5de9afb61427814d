// Renders chat templates for the tests that hold them against Jinja2: JSON lines {"template", "context"} in, {"ok",
// "text" | "error"} out. With --time N each rendering is repeated N times and the reply has its "microseconds".
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

nlohmann::ordered_json reply_to(const nlohmann::ordered_json& request, int repetitions) {
  try {
    const carronade::ChatTemplate chat_template(request.at("template").get_ref<const std::string&>());
    std::string text;
    auto best = std::chrono::steady_clock::duration::max();
    for (int i = 0; i < std::max(repetitions, 1); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      text = chat_template.render(request.at("context"));
      best = std::min(best, std::chrono::steady_clock::now() - begin);
    }
    nlohmann::ordered_json reply{{"ok", true}, {"text", text}};
    if (repetitions > 0) reply["microseconds"] = std::chrono::duration<double, std::micro>(best).count();
    return reply;
  } catch (const carronade::Error& error) {
    return {{"ok", false}, {"error", error.what()}, {"code", static_cast<int>(error.code)}};
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const int repetitions = argc == 3 && std::string(argv[1]) == "--time" ? std::stoi(argv[2]) : 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << reply_to(nlohmann::ordered_json::parse(line), repetitions).dump() << '\n' << std::flush;
  }
}
