#include "checkpoint/published_config.h"

#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>

#include "base/error.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/utf8.h"

namespace carronade {
namespace {

using nlohmann::json;

struct ModelType {
  std::string_view published;  // "model_type" in config.json
  std::string_view gguf;
};
constexpr ModelType kModelTypes[] = {
    {"qwen2", "qwen2"},   {"qwen3", "qwen3"},        {"llama", "llama"}, {"mistral", "mistral"},
    {"gemma3", "gemma3"}, {"gemma3_text", "gemma3"}, {"bert", "bert"},
};

constexpr size_t kMostLayers = 1024;

// Reads typed fields; what is absent or null is nullopt.
class Fields {
 public:
  Fields(const json& object, const std::string& file) : object_(object), file_(file) {}

  std::optional<int64_t> integer(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number_integer()) wrong(key, "an integer", *value);
    if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) wrong(key, "an integer of 63 bits", *value);
    return value->get<int64_t>();
  }
  std::optional<double> real(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_number()) wrong(key, "a number", *value);
    return value->get<double>();
  }
  std::optional<bool> boolean(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) wrong(key, "true or false", *value);
    return value->get<bool>();
  }
  std::optional<std::string> text(const char* key) const {
    const json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) wrong(key, "a text", *value);
    return value->get<std::string>();
  }
  // An object; an empty one when absent.
  const json& object(const char* key) const {
    static const json kEmpty = json::object();
    const json* value = find(key);
    if (!value) return kEmpty;
    if (!value->is_object()) wrong(key, "an object", *value);
    return *value;
  }
  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool says_null(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && found->is_null();
  }
  const std::string& file() const { return file_; }

  [[noreturn]] void unsupported(const std::string& message) const {
    throw Error(ErrorCode::kUnsupported, file_ + ": " + message, file_);
  }
  [[noreturn]] void wrong(const char* key, std::string_view expected, const json& value) const {
    const std::string found = printable(value.dump(-1, ' ', true, json::error_handler_t::replace));
    throw Error(ErrorCode::kCorruptFile, fmt::format("{}: \"{}\" should be {}, found {}", file_, key, expected, found),
                file_);
  }
  [[noreturn]] void missing(const char* key) const {
    throw Error(ErrorCode::kCorruptFile, fmt::format("{}: \"{}\" is missing", file_, key), file_);
  }

 private:
  const json& object_;
  const std::string& file_;
};

class Translator {
 public:
  Translator(const json& root, const std::string& file) : root_(root, file), text_(text_part(root), file) {}

  PublishedConfig translate() {
    find_architecture();
    refuse_quantized();
    copy_extents();
    if (out_.architecture == "bert") {
      translate_bert();
    } else {
      translate_decoder();
    }
    return std::move(out_);
  }

 private:
  // Models that also see or hear keep the language model's part apart.
  static const json& text_part(const json& root) {
    const auto found = root.find("text_config");
    return found != root.end() && found->is_object() ? *found : root;
  }

  template <typename T>
  void put(std::string_view key, T value) {
    out_.metadata.insert_or_assign(fmt::format("{}.{}", out_.architecture, key), MetadataValue(std::move(value)));
  }
  template <typename T>
  void put_if(std::string_view key, const std::optional<T>& value) {
    if (value) put(key, *value);
  }
  int64_t required(const char* key) const {
    const auto value = text_.integer(key);
    if (!value) text_.missing(key);
    return *value;
  }

  void find_architecture() {
    const auto type = root_.text("model_type");
    if (!type) root_.missing("model_type");
    std::string known;
    for (const ModelType& candidate : kModelTypes) {
      if (candidate.published == *type) out_.architecture = candidate.gguf;
      if (!known.empty()) known += ' ';
      known += candidate.published;
    }
    if (out_.architecture.empty()) {
      root_.unsupported(fmt::format("the model type \"{}\" is not supported; supported: {}", printable(*type), known));
    }
    out_.metadata["general.architecture"] = out_.architecture;
  }

  void refuse_quantized() const {
    const json& quantization = root_.object("quantization_config");
    if (quantization.empty()) return;
    const auto method = Fields(quantization, root_.file()).text("quant_method");
    root_.unsupported(fmt::format("weights quantized by \"{}\" are not supported; use the original or a GGUF file",
                                  printable(method.value_or("an unnamed method"))));
  }

  // What transformers' configuration classes fill in where the file says nothing; 0: it must say.
  struct Defaults {
    int64_t heads = 0, kv_heads = 0, context = 0, vocabulary = 0;
  };
  Defaults defaults() const {
    if (out_.architecture == "gemma3") return {.heads = 8, .kv_heads = 4, .context = 131072, .vocabulary = 262208};
    if (out_.architecture == "mistral") return {.kv_heads = 8, .context = 131072};
    if (out_.architecture == "bert") return {.context = 512};
    return {.context = out_.architecture == "llama" ? 2048 : 32768};
  }
  int64_t integer_or(const char* key, int64_t fallback) const {
    return fallback > 0 ? text_.integer(key).value_or(fallback) : required(key);
  }

  void copy_extents() {
    const Defaults absent = defaults();
    put("block_count", required("num_hidden_layers"));
    put("embedding_length", required("hidden_size"));
    put("feed_forward_length", required("intermediate_size"));
    put("attention.head_count", integer_or("num_attention_heads", absent.heads));
    put("context_length", integer_or("max_position_embeddings", absent.context));
    if (const auto kv_heads = text_.integer("num_key_value_heads")) {
      put("attention.head_count_kv", *kv_heads);
    } else if (absent.kv_heads > 0 && !text_.says_null("num_key_value_heads")) {
      put("attention.head_count_kv", absent.kv_heads);
    }
    out_.vocabulary = integer_or("vocab_size", absent.vocabulary);
    if (out_.vocabulary < 1 || out_.vocabulary > 1 << 22) {
      text_.wrong("vocab_size", "between 1 and 4194304", json(out_.vocabulary));
    }
    put("vocab_size", out_.vocabulary);
  }

  // The function that the architecture is trained with; another one would need other code.
  void check_activation(const char* key, std::string_view expected, std::string_view also = {}) const {
    const auto name = text_.text(key);
    if (!name || *name == expected || *name == also) return;
    text_.unsupported(
        fmt::format("\"{}\" is {}; with {} only {} is supported", key, printable(*name), out_.architecture, expected));
  }

  void translate_decoder() {
    const bool gemma = out_.architecture == "gemma3";
    const auto head_dim = text_.integer("head_dim");
    const int64_t heads = integer_or("num_attention_heads", defaults().heads);
    if (heads < 1) text_.wrong("num_attention_heads", "at least 1", json(heads));
    const int64_t usual = gemma ? 256 : out_.architecture == "qwen3" ? 128 : required("hidden_size") / heads;
    const int64_t dimensions = head_dim.value_or(usual);
    put("attention.key_length", dimensions);
    put("attention.value_length", dimensions);
    put("rope.dimension_count", dimensions);
    put("attention.layer_norm_rms_epsilon", text_.real("rms_norm_eps").value_or(1e-6));
    // As published, q and k are not permuted: a head's two halves are rotated together. GGUF's llama files have
    // neighbours.
    out_.metadata["carronade.rope.pairing"] = std::string("halves");
    out_.tied_embeddings = tied(gemma);
    translate_window();
    translate_rope(dimensions);
    if (gemma) {
      // Gemma's norms multiply by 1 + weight; GGUF files have the sum.
      out_.metadata["carronade.norm.plus_one"] = true;
      put_if("final_logit_softcapping", text_.real("final_logit_softcapping"));
      put_if("attn_logit_softcapping", text_.real("attn_logit_softcapping"));
      put("attention.query_pre_attn_scalar", text_.real("query_pre_attn_scalar").value_or(256.0));
      check_activation("hidden_activation", "gelu_pytorch_tanh");
      if (text_.boolean("use_bidirectional_attention").value_or(false)) {
        text_.unsupported("gemma3 with \"use_bidirectional_attention\" is not supported");
      }
    } else {
      check_activation("hidden_act", "silu", "swish");
    }
  }

  bool tied(bool when_absent) const {
    if (const auto own = text_.boolean("tie_word_embeddings")) return *own;
    return root_.boolean("tie_word_embeddings").value_or(when_absent);
  }

  // Which layers see a window only: transformers 5 lists them, before there were a pattern (gemma3) and a first layer
  // (qwen). Qwen's files name a window that is off unless they say otherwise.
  void translate_window() {
    const bool qwen = out_.architecture.starts_with("qwen");
    auto window = text_.integer("sliding_window");
    if (!window && !text_.says_null("sliding_window")) {
      if (out_.architecture == "gemma3" || out_.architecture == "mistral") window = 4096;
    }
    if (!window || !text_.boolean("use_sliding_window").value_or(!qwen)) return;
    put("attention.sliding_window", *window);
    if (const json* types = text_.find("layer_types")) {
      put("attention.sliding_window_pattern", local_layers(*types));
    } else if (const auto pattern = text_.integer("sliding_window_pattern")) {
      put("attention.sliding_window_pattern", *pattern);
    } else if (qwen) {
      const int64_t first = text_.integer("max_window_layers").value_or(28), layers = required("num_hidden_layers");
      if (layers < 1 || layers > static_cast<int64_t>(kMostLayers))
        text_.wrong("num_hidden_layers", "between 1 and 1024", json(layers));
      std::vector<bool> local;
      for (int64_t i = 0; i < layers; ++i) local.push_back(i >= first);
      put("attention.sliding_window_pattern", std::move(local));
    }
  }

  std::vector<bool> local_layers(const json& types) const {
    if (!types.is_array() || types.size() > kMostLayers) text_.wrong("layer_types", "a list of layers", types);
    std::vector<bool> local;
    for (const json& type : types) {
      if (type != "sliding_attention" && type != "full_attention") {
        text_.wrong("layer_types", "a list of \"full_attention\" and \"sliding_attention\"", types);
      }
      local.push_back(type == "sliding_attention");
    }
    return local;
  }

  // transformers 5 writes `rope_parameters`, for gemma3 one for each kind of layer; before, `rope_scaling` beside
  // `rope_theta`.
  void translate_rope(int64_t dimensions) {
    const json& parameters = text_.object("rope_parameters");
    const Fields outer(parameters, text_.file());
    const json& full = outer.object("full_attention");
    const Fields rope(!full.empty()         ? full
                      : !parameters.empty() ? parameters
                                            : text_.object("rope_scaling"),
                      text_.file());
    const double base =
        rope.real("rope_theta")
            .value_or(text_.real("rope_theta").value_or(out_.architecture == "gemma3" ? 1000000.0 : 10000.0));
    put("rope.freq_base", base);
    if (const auto local = Fields(outer.object("sliding_attention"), text_.file()).real("rope_theta")) {
      put("rope.freq_base_swa", *local);
    } else {
      put_if("rope.freq_base_swa", text_.real("rope_local_base_freq"));
    }
    const auto type = rope.text("rope_type");
    const std::string scaling = type ? *type : rope.text("type").value_or("default");
    if (scaling == "linear" || scaling == "yarn") {
      put("rope.scaling.type", scaling);
      put("rope.scaling.factor", positive(rope, "factor"));
      if (scaling == "yarn") translate_yarn(rope);
    } else if (scaling == "llama3") {
      out_.rope_factors = llama3_factors(rope, base, dimensions);
    } else if (scaling != "default") {
      text_.unsupported(
          fmt::format("the rope scaling \"{}\" is not supported; supported: linear yarn llama3", printable(scaling)));
    }
  }

  double positive(const Fields& rope, const char* key) const {
    const auto value = rope.real(key);
    if (!value) rope.missing(key);
    if (!(*value > 0) || !std::isfinite(*value)) rope.wrong(key, "a positive number", json(*value));
    return *value;
  }

  // Source: transformers' modeling_rope_utils.
  void translate_yarn(const Fields& rope) {
    auto original = rope.integer("original_max_position_embeddings");
    if (!original) original = text_.integer("original_max_position_embeddings");
    if (!original) original = text_.integer("max_position_embeddings");
    put_if("rope.scaling.original_context_length", original);
    put_if("rope.scaling.yarn_ext_factor", rope.real("extrapolation_factor"));
    auto magnitude = rope.real("attention_factor");
    const double one = rope.real("mscale").value_or(0), all = rope.real("mscale_all_dim").value_or(0);
    if (!magnitude && one != 0 && all != 0) {
      const double factor = positive(rope, "factor");
      const auto grown = [&](double by) { return factor <= 1 ? 1.0 : 0.1 * by * std::log(factor) + 1.0; };
      magnitude = grown(one) / grown(all);
    }
    put_if("rope.scaling.yarn_attn_factor", magnitude);
    if (const auto whole = rope.boolean("truncate")) out_.metadata["carronade.rope.yarn_truncate"] = *whole;
    put_if("rope.scaling.yarn_beta_fast", rope.real("beta_fast"));
    put_if("rope.scaling.yarn_beta_slow", rope.real("beta_slow"));
  }

  // Llama 3.1's stretching: long waves by `factor`, short ones not, between them a mixture. Source: transformers'
  // modeling_rope_utils.
  std::vector<float> llama3_factors(const Fields& rope, double base, int64_t dimensions) const {
    const double factor = positive(rope, "factor");
    const double low = positive(rope, "low_freq_factor"), high = positive(rope, "high_freq_factor");
    const double original = positive(rope, "original_max_position_embeddings");
    if (high <= low) rope.wrong("high_freq_factor", "greater than low_freq_factor", json(high));
    if (dimensions < 2 || dimensions > 1024) text_.wrong("head_dim", "between 2 and 1024", json(dimensions));
    std::vector<float> factors;
    for (int64_t i = 0; i < dimensions / 2; ++i) {
      const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(dimensions));
      const double waves = original * frequency / (2.0 * std::numbers::pi);  // that fit into the original context
      if (waves > high) {
        factors.push_back(1.0f);
      } else if (waves < low) {
        factors.push_back(static_cast<float>(factor));
      } else {
        const double smooth = (waves - low) / (high - low);
        factors.push_back(static_cast<float>(1.0 / ((1.0 - smooth) / factor + smooth)));
      }
    }
    return factors;
  }

  void translate_bert() {
    put("attention.layer_norm_epsilon", text_.real("layer_norm_eps").value_or(1e-12));
    check_activation("hidden_act", "gelu");
    const auto positions = text_.text("position_embedding_type");
    if (positions && *positions != "absolute") {
      text_.unsupported(
          fmt::format("bert with \"position_embedding_type\" {} is not supported; absolute is", printable(*positions)));
    }
    put("attention.causal", false);
    out_.metadata["tokenizer.ggml.token_type_count"] = text_.integer("type_vocab_size").value_or(2);
  }

  Fields root_, text_;
  PublishedConfig out_;
};

// Names of one layer's parts: the published and GGUF's, without ".weight" or ".bias".
using NamePair = std::pair<std::string_view, std::string_view>;

constexpr NamePair kDecoderParts[] = {
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},
};
// The same word means the norm before the feed-forward part in llama, and one behind the attention in gemma3.
constexpr NamePair kLlamaParts[] = {{"post_attention_layernorm", "ffn_norm"}};
constexpr NamePair kGemmaParts[] = {{"post_attention_layernorm", "post_attention_norm"},
                                    {"pre_feedforward_layernorm", "ffn_norm"},
                                    {"post_feedforward_layernorm", "post_ffw_norm"}};
constexpr NamePair kBertParts[] = {
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm"},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm"},
};
constexpr NamePair kDecoderWhole[] = {{"embed_tokens", "token_embd"}, {"norm", "output_norm"}, {"lm_head", "output"}};
constexpr NamePair kBertWhole[] = {{"embeddings.word_embeddings", "token_embd"},
                                   {"embeddings.position_embeddings", "position_embd"},
                                   {"embeddings.token_type_embeddings", "token_types"},
                                   {"embeddings.LayerNorm", "token_embd_norm"}};

template <size_t N>
std::string_view look_up(const NamePair (&pairs)[N], std::string_view name) {
  for (const auto& [published, gguf] : pairs) {
    if (published == name) return gguf;
  }
  return {};
}

// Takes a prefix off; false when it is not there.
bool take(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return true;
}

std::string_view part_name(std::string_view architecture, std::string_view part) {
  if (architecture == "bert") return look_up(kBertParts, part);
  const std::string_view shared = look_up(kDecoderParts, part);
  if (!shared.empty()) return shared;
  return architecture == "gemma3" ? look_up(kGemmaParts, part) : look_up(kLlamaParts, part);
}

}  // namespace

PublishedConfig translate_config(const json& config, const std::string& file) {
  return Translator(config, file).translate();
}

void translate_generation_config(const json& config, Metadata& metadata) {
  constexpr std::array<std::pair<const char*, const char*>, 5> kReals = {
      {{"temperature", "general.sampling.temp"},
       {"top_p", "general.sampling.top_p"},
       {"min_p", "general.sampling.min_p"},
       {"repetition_penalty", "general.sampling.penalty_repeat"},
       {"typical_p", "general.sampling.typical_p"}}};
  for (const auto& [published, gguf] : kReals) {
    const auto found = config.find(published);
    if (found != config.end() && found->is_number()) metadata[gguf] = found->get<double>();
  }
  const auto top_k = config.find("top_k");
  if (top_k != config.end() && top_k->is_number_integer()) metadata["general.sampling.top_k"] = top_k->get<int64_t>();
}

std::string translate_tensor_name(std::string_view architecture, std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == name.npos) return {};
  const std::string_view suffix = name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return {};
  std::string_view stem = name.substr(0, dot);
  const bool bert = architecture == "bert";
  if (bert) {
    take(stem, "bert.");
  } else if (!take(stem, "language_model.model.") && !take(stem, "model.language_model.")) {
    take(stem, "model.");
  }
  take(stem, "language_model.");  // language_model.lm_head
  if (take(stem, bert ? "encoder.layer." : "layers.")) {
    const size_t digits = stem.find_first_not_of("0123456789");
    if (digits == 0 || digits > 5 || stem[digits] != '.') return {};
    const std::string_view part = part_name(architecture, stem.substr(digits + 1));
    return part.empty() ? std::string() : fmt::format("blk.{}.{}{}", stem.substr(0, digits), part, suffix);
  }
  const std::string_view whole = bert ? look_up(kBertWhole, stem) : look_up(kDecoderWhole, stem);
  return whole.empty() ? std::string() : fmt::format("{}{}", whole, suffix);
}

}  // namespace carronade
