#include "server/openai_routes.h"

#include <ctime>
#include <utility>

#include "api/chat_completions.h"
#include "api/completions.h"
#include "api/openai.h"
#include "api/tokenize.h"
#include "server/access.h"
#include "server/answering.h"
#include "server/model_wait.h"
#include "server/stream_route.h"

namespace carronade {

namespace {

AnsweringCall call_of(const HttpRequest& request, std::string_view route, const ReplyOptions& reply) {
  AnsweringCall call;
  call.id = request.id;
  if (!reply.request_id.empty() && reply.request_id != request.id) call.id += " (" + reply.request_id + ")";
  call.key = request.key;
  call.route = route;
  call.stream = reply.stream;
  call.answers = reply.n;
  call.error_body = openai_error_body;
  return call;
}

AnswerHead head_of(const HttpRequest& request, const ReplyOptions& reply, const ChatModel& model) {
  const bool named = request.header("x-request-id") == request.id;
  const std::string& id = reply.request_id.empty() || named ? request.id : reply.request_id;
  return {reply.model.empty() ? model.name : reply.model, id, std::time(nullptr)};
}

ShownPrompt shown_prompt(const ChatCompletionCall& call, const ChatModel& model, const std::vector<TokenId>& tokens) {
  ShownPrompt shown;
  if (call.reply.token_ids) shown.token_ids = tokens;
  if (call.prompt_text) shown.text = text_of(*model.tokenizer, tokens);
  return shown;
}

ModelWanted wanted_model(const ReplyOptions& reply) { return {reply.model, reply.background, reply.keep_alive}; }

WaitingReply waiting_reply(const ReplyOptions& reply, size_t bytes) {
  return {.bytes = bytes, .stream = reply.stream, .error_frame = openai_error_frame};
}

// Calls then(request, what its body asks for) on the strand; a long body is parsed elsewhere.
template <typename Parse, typename Then>
void read_body(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange, Parse parse, Then then) {
  if (request.body.size() <= kReadAtOnceBytes) return then(request, parse(request.body));
  const auto kept = std::make_shared<HttpRequest>(request);
  exchange->compute([exchange, kept, parse, then]() -> std::function<void()> {
    const auto refuse = [exchange](const Error& error) {
      exchange->respond(error_response(http_status(error.code), error.what(), error.param));
    };
    try {
      return [kept, then, refuse, call = parse(kept->body)]() mutable {
        try {
          then(*kept, std::move(call));
        } catch (...) {
          refuse(error_for_client());
        }
      };
    } catch (...) {
      return [refuse, error = error_for_client()] { refuse(error); };
    }
  });
}

void chat_completions(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                      const std::shared_ptr<Exchange>& exchange) {
  read_body(request, exchange, parse_chat_completion,
            [state, exchange](const HttpRequest& from, ChatCompletionCall wanted) {
              const WaitingReply waiting = waiting_reply(wanted.reply, from.body.size());
              answer_chat(state, from, exchange, std::move(wanted), make_event_framing(), waiting);
            });
}

// What is left of a request while its model is loaded.
HttpRequest without_body(const HttpRequest& request) {
  HttpRequest head;
  head.headers = request.headers;
  head.id = request.id;
  head.key = request.key;
  return head;
}

CompletionEncoder::EchoedPrompt echoed(const ChatModel& model, const TextPrompt& asked,
                                       const std::vector<TokenId>& tokens) {
  CompletionEncoder::EchoedPrompt echo{text_of(*model.tokenizer, tokens), tokens,
                                       std::string(model.tokenizer->token_bytes(tokens.front()))};
  if (const auto* text = std::get_if<std::string>(&asked.text)) {
    echo.text = *text;
    if (!text->starts_with(echo.first_token)) echo.first_token.clear();  // a begin token that nobody wrote
  }
  return echo;
}

void complete(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
              const std::shared_ptr<Exchange>& exchange, CompletionCall wanted) {
  wanted.options.adapter = state->adapter(wanted.reply.model);
  wanted.options.tenant = tenant_of(request);
  const ModelWanted model_wanted = wanted_model(wanted.reply);
  const WaitingReply waiting = waiting_reply(wanted.reply, request.body.size());
  with_model(state, exchange, model_wanted, waiting,
             [state, exchange, wanted = std::move(wanted),
              request = without_body(request)](const std::shared_ptr<const ChatModel>& model) -> std::function<void()> {
               const auto call = std::make_shared<AnsweringCall>(call_of(request, "completion", wanted.reply));
               std::vector<CompletionEncoder::EchoedPrompt> prompts;
               call->prompts.reserve(wanted.prompts.size());  // the first is looked at while others are added
               for (const TextPrompt& prompt : wanted.prompts) {
                 call->prompts.emplace_back(model, build_text_prompt(*model, prompt), wanted.options, "prompt",
                                            call->prompts.empty() ? nullptr : &call->prompts.front());
                 prompts.push_back(echoed(*model, prompt, call->prompts.back().prompt_tokens()));
               }
               call->encoder = std::make_unique<CompletionEncoder>(wanted, head_of(request, wanted.reply, *model),
                                                                   std::move(prompts));
               return [state, exchange, call] { answer(state, exchange, std::move(*call)); };
             });
}

void completions(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                 const std::shared_ptr<Exchange>& exchange) {
  read_body(request, exchange, parse_completion, [state, exchange](const HttpRequest& from, CompletionCall wanted) {
    complete(state, from, exchange, std::move(wanted));
  });
}

std::string tokens_of(const ChatModel& model, const TokenizeCall& call) {
  std::vector<TokenId> tokens;
  if (const auto* text = std::get_if<TextPrompt>(&call.input)) {
    // An empty text has no tokens, and that is an answer here.
    tokens = model.tokenizer->encode(std::get<std::string>(text->text),
                                     {.add_special = text->add_special, .parse_special = true});
  } else {
    tokens = build_prompt(model, std::get<PromptRequest>(call.input)).tokens;
  }
  return tokenize_body(tokens, model.max_model_len, call.return_texts ? model.tokenizer.get() : nullptr);
}

void tokenize(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
              const std::shared_ptr<Exchange>& exchange) {
  read_body(request, exchange, parse_tokenize, [state, exchange](const HttpRequest& from, const TokenizeCall& call) {
    with_model(state, exchange, {.name = call.model}, {.bytes = from.body.size()},
               [exchange, call](const std::shared_ptr<const ChatModel>& model) -> std::function<void()> {
                 return [exchange, body = tokens_of(*model, call)] { exchange->respond(json_response(200, body)); };
               });
  });
}

std::string text_of(const ChatModel& model, const DetokenizeCall& call) {
  for (const TokenId token : call.tokens) {
    if (token >= model.tokenizer->vocabulary_size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "tokens holds " + std::to_string(token) + "; this model's ids go from 0 to " +
                      std::to_string(model.tokenizer->vocabulary_size() - 1),
                  "tokens");
    }
  }
  return detokenize_body(text_of(*model.tokenizer, call.tokens));
}

void detokenize(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                const std::shared_ptr<Exchange>& exchange) {
  read_body(
      request, exchange, parse_detokenize, [state, exchange](const HttpRequest& from, const DetokenizeCall& call) {
        with_model(state, exchange, {.name = call.model}, {.bytes = from.body.size()},
                   [exchange, call](const std::shared_ptr<const ChatModel>& model) -> std::function<void()> {
                     return [exchange, body = text_of(*model, call)] { exchange->respond(json_response(200, body)); };
                   });
      });
}

void health(const ServingState& state, Exchange& exchange) {
  if (state.is_ready()) {
    exchange.respond({200, {{"Cache-Control", "no-store"}}, {}, {}});
  } else {
    HttpResponse response = json_response(503, loading_body(state.progress()));
    response.headers.emplace_back("Cache-Control", "no-store");
    response.headers.emplace_back("Retry-After", "1");
    exchange.respond(std::move(response));
  }
}

void one_model(const ServingState& state, const HttpRequest& request, Exchange& exchange) {
  const std::string name = request.path.substr(std::string_view("/v1/models/").size());
  state.check_name(name);
  for (const auto& served : state.models()) {
    if (served.id == name || name.empty()) return exchange.respond(json_response(200, model_body(served)));
  }
}

}  // namespace

void answer_chat(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                 const std::shared_ptr<Exchange>& exchange, ChatCompletionCall wanted,
                 std::unique_ptr<StreamFraming> framing, const WaitingReply& waiting) {
  wanted.request.adapter = state->adapter(wanted.reply.model);
  wanted.request.tenant = tenant_of(request);
  const ModelWanted model_wanted = wanted_model(wanted.reply);
  const auto shared_framing = std::make_shared<std::unique_ptr<StreamFraming>>(std::move(framing));
  with_model(state, exchange, model_wanted, waiting,
             [state, exchange, wanted = std::move(wanted), shared_framing,
              request = without_body(request)](const std::shared_ptr<const ChatModel>& model) -> std::function<void()> {
               const auto call = std::make_shared<AnsweringCall>(call_of(request, "chat", wanted.reply));
               call->prompts.emplace_back(model, wanted.request);
               const std::vector<TokenId>& tokens = call->prompts.front().prompt_tokens();
               call->encoder = std::make_unique<ChatCompletionEncoder>(
                   wanted, head_of(request, wanted.reply, *model), static_cast<int>(tokens.size()),
                   std::move(*shared_framing), shown_prompt(wanted, *model, tokens));
               return [state, exchange, call] { answer(state, exchange, std::move(*call)); };
             });
}

void add_openai_routes(Router& router, const std::shared_ptr<ServingState>& state) {
  router.add(
      {.method = "GET",
       .path = "/health",
       .handler = [state](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) { health(*state, *exchange); },
       .needs_key = false});
  router.add({.method = "GET",
              .path = "/v1/models",
              .handler = [state](const HttpRequest&, const std::shared_ptr<Exchange>& exchange) {
                state->check_name("");  // throws while loading
                exchange->respond(json_response(200, models_body(state->models())));
              }});
  router.add({.method = "GET",
              .path = "/v1/models/*",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                one_model(*state, request, *exchange);
              }});
  router.add({.method = "POST",
              .path = "/v1/chat/completions",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                chat_completions(state, request, exchange);
              }});
  router.add({.method = "POST",
              .path = "/v1/completions",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                completions(state, request, exchange);
              }});
  router.add({.method = "POST",
              .path = "/tokenize",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                tokenize(state, request, exchange);
              }});
  router.add({.method = "POST",
              .path = "/detokenize",
              .handler = [state](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                detokenize(state, request, exchange);
              }});
  add_stream_route(router, state);
}

}  // namespace carronade
