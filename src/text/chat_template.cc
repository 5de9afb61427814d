#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/lexer.h"
#include "text/jinja/parser.h"

namespace carronade {

struct ChatTemplate::Impl {
  std::string source;
  std::unique_ptr<const jinja::Template> tree;
};

ChatTemplate::ChatTemplate(std::string_view source)
    : impl_(new Impl{std::string(source), jinja::parse_template(source)}) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::ordered_json& context, const TemplateLimits& limits) const {
  if (!context.is_object())
    throw_error(ErrorCode::kInvalidArgument, "the variables of a chat template must be an object");
  jinja::Budget budget(limits);
  jinja::Interpreter interpreter(*impl_->tree, context, budget);
  try {
    return interpreter.run();
  } catch (const Error& error) {
    if (error.code != ErrorCode::kInvalidArgument || interpreter.raised()) throw;
    jinja::fail_at(impl_->tree->source, interpreter.offset(), error.what());
  }
}

const std::string& ChatTemplate::source() const { return impl_->source; }

}  // namespace carronade
