#include "api/openapi.h"

#include <initializer_list>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "api/openai_json.h"
#include "api/request_fields.h"

namespace carronade {

namespace {

constexpr std::string_view kStreamPath = "/v1/stream";

struct Operation {
  std::string_view path, method, summary;
  std::string_view request;  // of components/schemas, or empty
  std::string_view reply;    // its content type
  std::vector<int> errors;
  bool needs_key = true;
};

// Errors that any route may answer with, before or besides its own, are added to each.
const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
      {"/v1/chat/completions",
       "post",
       "An answer to a conversation",
       "ChatCompletionRequest",
       "application/json",
       {400, 404, 503}},
      {kStreamPath,
       "get",
       "A WebSocket: requests of /v1/chat/completions as messages, their chunks as messages (docs/websocket.md)",
       "",
       "",
       {426}},
      {"/v1/completions",
       "post",
       "A text goes on, or its gap is filled",
       "CompletionRequest",
       "application/json",
       {400, 404, 503}},
      {"/v1/models", "get", "The models and adapters that are served", "", "application/json", {503}},
      {"/v1/models/{model}", "get", "One of them", "", "application/json", {404, 503}},
      {"/tokenize",
       "post",
       "A text's or a conversation's tokens",
       "TokenizeRequest",
       "application/json",
       {400, 404, 503}},
      {"/detokenize", "post", "The text of tokens", "DetokenizeRequest", "application/json", {400, 404, 503}},
      {"/health", "get", "200 when requests are answered, 503 with the progress before", "", "", {503}, false},
      {"/ping", "get", "The same, under the name that SageMaker asks for", "", "", {503}},
      {"/ping", "post", "The same", "", "", {503}},
      {"/load", "get", "Requests being answered", "", "application/json", {}},
      {"/version", "get", "The program's version", "", "application/json", {}},
      {"/metrics", "get", "Figures for Prometheus", "", "text/plain", {503}},
      {"/debug/scheduler",
       "get",
       "Who runs and who waits, without a word of what they said",
       "",
       "application/json",
       {503}},
      {"/openapi.json", "get", "This document", "", "application/json", {}},
      {"/docs", "get", "This document as a page", "", "text/html", {}, false},
  };
  return all;
}

constexpr std::string_view kSchemas = R"({
  "Message": {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
      "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
      "content": {"anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "object", "required": ["type", "text"], "additionalProperties": false,
          "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]},
      "name": {"type": "string"},
      "reasoning": {"type": "string", "description": "the thought of an earlier answer"},
      "reasoning_content": {"type": "string", "description": "its older name"},
      "tool_call_id": {"type": "string"}
    },
    "additionalProperties": false
  },
  "TokenizeRequest": {
    "anyOf": [
      {"type": "object", "required": ["prompt"], "additionalProperties": false, "properties": {
        "model": {"type": "string"}, "prompt": {"type": "string"}, "add_special_tokens": {"type": "boolean"},
        "return_token_strs": {"type": "boolean"}}},
      {"type": "object", "required": ["messages"], "additionalProperties": false, "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}},
        "add_generation_prompt": {"type": "boolean"}, "continue_final_message": {"type": "boolean"},
        "chat_template_kwargs": {"type": "object"}, "return_token_strs": {"type": "boolean"}}}]
  },
  "DetokenizeRequest": {
    "type": "object", "required": ["tokens"], "additionalProperties": false,
    "properties": {"model": {"type": "string"}, "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}}
  },
  "Error": {
    "type": "object", "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"], "properties": {
      "message": {"type": "string"}, "type": {"type": "string"},
      "param": {"type": ["string", "null"], "description": "the field that is wrong"}, "code": {"type": "integer"}}}}
  }
})";

Json object_schema(const std::vector<FieldRule>& rules, std::initializer_list<std::string_view> required) {
  Json properties = Json::object();
  for (const FieldRule& rule : rules) {
    if (rule.use == FieldUse::kRefused) continue;
    Json schema = rule.schema.empty() ? Json::object() : Json::parse(rule.schema);
    schema["description"] =
        rule.use == FieldUse::kHonoured ? std::string(rule.why) : "accepted, without effect: " + std::string(rule.why);
    properties[std::string(rule.name)] = std::move(schema);
  }
  Json names = Json::array();
  for (const std::string_view name : required) names.push_back(name);
  return {{"type", "object"},
          {"required", std::move(names)},
          {"properties", std::move(properties)},
          {"additionalProperties", false}};
}

std::string_view meaning(int status) {
  switch (status) {
    case 400:
      return "the request is wrong: `param` names the field";
    case 401:
      return "the key is missing or wrong";
    case 403:
      return "not for this key, or from a foreign page";
    case 404:
      return "there is no such model";
    case 405:
      return "not with this method";
    case 408:
      return "the request did not arrive in time";
    case 413:
      return "the body is too large";
    case 415:
      return "the body is not JSON";
    case 426:
      return "the request did not ask for a WebSocket";
    case 429:
      return "over the limit of this key: Retry-After says for how long";
    default:
      return "still loading, full, or shutting down: Retry-After says when to try again";
  }
}

Json error_reply(int status) {
  return {{"description", meaning(status)},
          {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/Error"}}}}}}}};
}

Json operation_json(const Operation& operation) {
  const bool is_openai = operation.path.starts_with("/v1/");
  Json replies = Json::object();
  Json ok = {{"description", "OK"}};
  if (!operation.reply.empty()) ok["content"] = {{std::string(operation.reply), Json::object()}};
  // OpenAPI 3.1 has no words for what an event stream holds.
  if (!operation.request.empty() && is_openai) ok["content"]["text/event-stream"] = Json::object();
  if (operation.path == kStreamPath) {
    replies["101"] = {{"description", "a WebSocket from here on"}};
  } else {
    replies["200"] = std::move(ok);
  }
  for (const int status : operation.errors) replies[std::to_string(status)] = error_reply(status);
  if (operation.needs_key) {
    for (const int status : {401, 403, 429}) replies[std::to_string(status)] = error_reply(status);
  }
  for (const int status : {405, 408, 413}) replies[std::to_string(status)] = error_reply(status);
  Json json = {{"summary", operation.summary}, {"tags", Json::array({is_openai ? "OpenAI" : "vLLM and operators"})}};
  if (!operation.request.empty()) {
    replies["415"] = error_reply(415);
    json["requestBody"] = {
        {"required", true},
        {"content",
         {{"application/json", {{"schema", {{"$ref", "#/components/schemas/" + std::string(operation.request)}}}}}}}};
  }
  if (operation.path.ends_with("{model}")) {
    json["parameters"] = Json::array(
        {{{"name", "model"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}, {"minLength", 1}}}}});
  }
  if (operation.needs_key) json["security"] = Json::array({{{"key", Json::array()}}});
  json["responses"] = std::move(replies);
  return json;
}

void write_table(std::string& out, std::string_view title, const std::vector<FieldRule>& rules) {
  out += fmt::format("\n## {}\n\n| field | | |\n|---|---|---|\n", title);
  for (const FieldRule& rule : rules) {
    const std::string_view use = rule.use == FieldUse::kHonoured   ? "works"
                                 : rule.use == FieldUse::kAccepted ? "accepted, without effect"
                                                                   : "refused by name";
    out += fmt::format("| `{}` | {} | {} |\n", rule.name, use, rule.why);
  }
}

}  // namespace

std::string openapi_document(std::string_view version) {
  Json paths = Json::object();
  for (const Operation& operation : operations())
    paths[std::string(operation.path)][std::string(operation.method)] = operation_json(operation);
  Json schemas = Json::parse(kSchemas);
  schemas["ChatCompletionRequest"] = object_schema(chat_completion_fields(), {"messages"});
  schemas["CompletionRequest"] = object_schema(completion_fields(), {"prompt"});
  const Json document = {
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "Carronade"},
        {"version", version},
        {"description", "The API of OpenAI, with vLLM's fields and routes beside it."},
        {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
      {"paths", std::move(paths)},
      {"components",
       {{"schemas", std::move(schemas)}, {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
  return document.dump(1);
}

std::string compatibility_document() {
  std::string out = R"(# What the API understands

Made from the program's own tables (`src/api/request_fields.cc`); a test holds this file to them. A field that is refused is an error that names
it, unless its value asks for nothing. What is in no table is an error too, with the nearest known name: nothing is ignored in silence.

## Routes

| route | |
|---|---|
)";
  for (const Operation& operation : operations()) {
    std::string method(operation.method == "get" ? "GET" : "POST");
    out += fmt::format("| `{} {}` | {} |\n", method, operation.path, operation.summary);
  }
  write_table(out, "POST /v1/chat/completions", chat_completion_fields());
  write_table(out, "POST /v1/completions", completion_fields());
  return out;
}

}  // namespace carronade
