#include "api/tokenize.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "api/chat_completions.h"
#include "api/json_fields.h"
#include "api/openai_json.h"

namespace carronade {

namespace {

// Refuses what is not known.
void check_names(const Json& json, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : json.items()) {
    if (std::find(known.begin(), known.end(), std::string_view(name)) == known.end())
      throw Error(ErrorCode::kInvalidArgument, "unknown field " + shown_name(name), shown_name(name));
  }
}

}  // namespace

TokenizeCall parse_tokenize(std::string_view body) {
  const Json json = parse_json_object(body);
  const JsonFields fields(json);
  TokenizeCall call;
  call.model = fields.string("model").value_or("");
  call.return_texts = fields.boolean("return_token_strs").value_or(false);
  if (fields.find("messages")) {
    check_names(json, {"model", "messages", "add_generation_prompt", "add_special_tokens", "return_token_strs",
                       "continue_final_message", "chat_template_kwargs", "tools"});
    if (fields.boolean("add_special_tokens").value_or(false))
      fields.fail("add_special_tokens", "must be false: the chat template places the special tokens");
    call.input = read_prompt_request(fields);
  } else {
    check_names(json, {"model", "prompt", "add_special_tokens", "return_token_strs"});
    fields.require("prompt");
    call.input =
        TextPrompt{*fields.string("prompt"), std::nullopt, fields.boolean("add_special_tokens").value_or(true)};
  }
  return call;
}

DetokenizeCall parse_detokenize(std::string_view body) {
  const Json json = parse_json_object(body);
  check_names(json, {"model", "tokens"});
  const JsonFields fields(json);
  fields.require("tokens");
  DetokenizeCall call{fields.string("model").value_or(""), {}};
  for (const Json& token : *fields.array("tokens")) {
    if (!token.is_number_integer() || token < 0 || token > std::numeric_limits<TokenId>::max())
      fields.fail("tokens", "must hold token ids");
    call.tokens.push_back(token.get<TokenId>());
  }
  return call;
}

std::string tokenize_body(const std::vector<TokenId>& tokens, int max_model_len, const Tokenizer* texts_of) {
  Json texts = nullptr;
  if (texts_of) {
    texts = Json::array();
    for (const TokenId token : tokens) texts.push_back(texts_of->token_bytes(token));
  }
  return dump({{"count", tokens.size()},
               {"max_model_len", max_model_len},
               {"tokens", tokens},
               {"token_strs", std::move(texts)}});
}

std::string detokenize_body(const std::string& text) { return dump({{"prompt", text}}); }

}  // namespace carronade
