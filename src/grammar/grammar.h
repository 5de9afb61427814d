// A JSON schema, regex or EBNF grammar → which tokens may come next, over xgrammar.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace carronade {

// A compiled grammar; immutable, shared between the sequences that use it.
class CompiledGrammar;

// Made once a model. Compiling may take a second and happens on the caller's thread; any thread may call, results are
// cached by source.
class GrammarCompiler {
 public:
  // token_bytes: [vocabulary], what each token stands for; stop_tokens end an answer and are allowed only where the
  // grammar may end.
  GrammarCompiler(const std::vector<std::string>& token_bytes, std::vector<int32_t> stop_tokens);
  ~GrammarCompiler();
  GrammarCompiler(GrammarCompiler&&) noexcept;

  // Each throws Error{kInvalidArgument} for a source that is not valid or can match nothing.
  std::shared_ptr<const CompiledGrammar> json_schema(const std::string& schema);
  std::shared_ptr<const CompiledGrammar> any_json();
  std::shared_ptr<const CompiledGrammar> regex(const std::string& pattern);
  std::shared_ptr<const CompiledGrammar> ebnf(const std::string& grammar);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One sequence's place in a grammar. Owned by one thread.
class GrammarMatcher {
 public:
  explicit GrammarMatcher(std::shared_ptr<const CompiledGrammar> grammar);
  ~GrammarMatcher();
  GrammarMatcher(GrammarMatcher&&) noexcept;

  // Sets exactly the bits of the tokens that may come next. mask: [ceil(vocabulary / 32)]. False: every token may come,
  // mask not meaningful.
  bool fill_mask(std::span<uint32_t> mask);
  bool accept(int32_t token);  // false: the grammar does not allow it, nothing changed
  void rollback(int tokens);   // takes back the last accepted
  bool complete() const;       // what was accepted is a whole match
  bool terminated() const;     // and a stop token was accepted after it

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carronade
