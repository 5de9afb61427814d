#include "grammar/grammar.h"

#include <dlpack/dlpack.h>
#include <xgrammar/xgrammar.h>

#include <exception>
#include <utility>

#include "base/error.h"

namespace carronade {

class CompiledGrammar {
 public:
  explicit CompiledGrammar(xgrammar::CompiledGrammar grammar) : grammar(std::move(grammar)) {}
  xgrammar::CompiledGrammar grammar;
};

struct GrammarCompiler::Impl {
  xgrammar::TokenizerInfo tokenizer;
  xgrammar::GrammarCompiler compiler;

  Impl(const std::vector<std::string>& token_bytes, std::vector<int32_t> stop_tokens)
      : tokenizer(token_bytes, xgrammar::VocabType::RAW, static_cast<int>(token_bytes.size()), std::move(stop_tokens)),
        compiler(tokenizer, /*max_threads=*/2, /*cache_enabled=*/true, /*max_memory_bytes=*/64ll << 20) {}

  // Runs one of the compiler's methods; what the library throws about a source becomes our Error.
  template <typename Compile>
  std::shared_ptr<const CompiledGrammar> compile(const char* what, Compile&& run) {
    try {
      return std::make_shared<const CompiledGrammar>(run());
    } catch (const std::exception& error) {
      throw_error(ErrorCode::kInvalidArgument, "invalid {}: {}", what, error.what());
    }
  }
};

GrammarCompiler::GrammarCompiler(const std::vector<std::string>& token_bytes, std::vector<int32_t> stop_tokens)
    : impl_(std::make_unique<Impl>(token_bytes, std::move(stop_tokens))) {}
GrammarCompiler::~GrammarCompiler() = default;
GrammarCompiler::GrammarCompiler(GrammarCompiler&&) noexcept = default;

std::shared_ptr<const CompiledGrammar> GrammarCompiler::json_schema(const std::string& schema) {
  return impl_->compile("JSON schema", [&] { return impl_->compiler.CompileJSONSchema(schema); });
}

std::shared_ptr<const CompiledGrammar> GrammarCompiler::any_json() {
  return impl_->compile("JSON grammar", [&] { return impl_->compiler.CompileBuiltinJSONGrammar(); });
}

std::shared_ptr<const CompiledGrammar> GrammarCompiler::regex(const std::string& pattern) {
  return impl_->compile("regular expression", [&] { return impl_->compiler.CompileRegex(pattern); });
}

std::shared_ptr<const CompiledGrammar> GrammarCompiler::ebnf(const std::string& grammar) {
  return impl_->compile("EBNF grammar", [&] { return impl_->compiler.CompileGrammar(grammar); });
}

struct GrammarMatcher::Impl {
  std::shared_ptr<const CompiledGrammar> grammar;
  xgrammar::GrammarMatcher matcher;

  explicit Impl(std::shared_ptr<const CompiledGrammar> compiled)
      : grammar(std::move(compiled)), matcher(grammar->grammar) {}
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar)
    : impl_(std::make_unique<Impl>(std::move(grammar))) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;

bool GrammarMatcher::fill_mask(std::span<uint32_t> mask) {
  int64_t extent = static_cast<int64_t>(mask.size());
  DLTensor tensor{};
  tensor.data = mask.data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = {kDLInt, 32, 1};
  tensor.shape = &extent;
  return impl_->matcher.FillNextTokenBitmask(&tensor);
}

bool GrammarMatcher::accept(int32_t token) { return impl_->matcher.AcceptToken(token); }
void GrammarMatcher::rollback(int tokens) { impl_->matcher.Rollback(tokens); }
bool GrammarMatcher::complete() const { return impl_->matcher.IsCompleted(); }
bool GrammarMatcher::terminated() const { return impl_->matcher.IsTerminated(); }

}  // namespace carronade
