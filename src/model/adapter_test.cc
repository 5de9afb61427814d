// Low-rank adapters against models that have them merged into their weights.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/testing.h"
#include "model/model.h"
#include "model/testing.h"

namespace carronade {
namespace {

using nlohmann::json;

constexpr int kRank = 8;

struct Matrices {
  std::vector<float> a, b;  // [kRank, columns], [rows, kRank]
  int64_t rows = 0, columns = 0;
};
using Adapter = std::map<std::string, Matrices>;  // by GGUF's name of the weight

class AdapterTest : public testing::Test {
 protected:
  std::shared_ptr<const Checkpoint> open_base(const TinyModel& tiny) {
    tiny.build().write(directory_.path() / "base.gguf");
    return Checkpoint::open(directory_.path() / "base.gguf");
  }
  static Adapter random_adapter(const Checkpoint& base, const std::vector<std::string>& targets, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.15f);
    Adapter adapter;
    for (const std::string& target : targets) {
      const TensorView* weight = base.find(target);
      Matrices& matrices = adapter[target];
      matrices.rows = weight->rows();
      matrices.columns = weight->columns();
      matrices.a.resize(static_cast<size_t>(kRank * matrices.columns));
      matrices.b.resize(static_cast<size_t>(kRank * matrices.rows));
      for (float& value : matrices.a) value = normal(random);
      for (float& value : matrices.b) value = normal(random);
    }
    return adapter;
  }
  std::filesystem::path write_gguf(const Adapter& adapter, const std::string& architecture, float alpha) {
    GgufBuilder file;
    file.set("general.architecture", architecture).set("general.type", "adapter").set("adapter.type", "lora");
    file.set("adapter.lora.alpha", alpha);
    for (const auto& [name, m] : adapter) {
      file.tensor(name + ".lora_a", DType::kF32, {kRank, m.columns}, m.a);
      file.tensor(name + ".lora_b", DType::kF32, {m.rows, kRank}, m.b);
    }
    auto path = directory_.path() / fmt::format("adapter-{}.gguf", ++files_);
    file.write(path);
    return path;
  }
  // As PEFT saves it; `names` maps GGUF's names to the published.
  std::filesystem::path write_peft(const Adapter& adapter, const std::map<std::string, std::string>& names,
                                   const json& config) {
    auto folder = directory_.path() / fmt::format("peft-{}", ++files_);
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "adapter_config.json") << config.dump();
    json header = json::object();
    std::string data;
    const auto add = [&](const std::string& name, int64_t rows, int64_t columns, const std::vector<float>& values) {
      const size_t start = data.size();
      data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", {rows, columns}}, {"data_offsets", {start, data.size()}}};
    };
    for (const auto& [name, m] : adapter) {
      add("base_model.model." + names.at(name) + ".lora_A.weight", kRank, m.columns, m.a);
      add("base_model.model." + names.at(name) + ".lora_B.weight", m.rows, kRank, m.b);
    }
    const std::string text = header.dump();
    const uint64_t length = text.size();
    std::ofstream out(folder / "adapter_model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << text << data;
    return folder;
  }
  // The base model with the products added to its weights; `row_of` says where a row of a product goes.
  GgufBuilder merged(const TinyModel& tiny, const Checkpoint& base, const Adapter& adapter, float scale,
                     const std::function<int64_t(const std::string&, int64_t)>& row_of) {
    GgufBuilder file = tiny.build();
    for (const auto& [name, m] : adapter) {
      const TensorView* weight = base.find(name);
      std::vector<float> values(static_cast<size_t>(m.rows * m.columns));
      dequantize(weight->dtype, weight->bytes.data(), values.data(), m.rows * m.columns);
      for (int64_t row = 0; row < m.rows; ++row) {
        for (int64_t column = 0; column < m.columns; ++column) {
          double sum = 0;
          for (int64_t r = 0; r < kRank; ++r)
            sum += static_cast<double>(m.b[row * kRank + r]) * m.a[r * m.columns + column];
          values[row_of(name, row) * m.columns + column] += static_cast<float>(scale * sum);
        }
      }
      file.replace_tensor(name, values);
    }
    return file;
  }

  static std::vector<float> logits(Backend& backend, Model& model, int sequences, const std::vector<int>& adapters) {
    std::vector<std::vector<BlockId>> tables;
    Batch batch;
    for (int s = 0; s < sequences; ++s) tables.push_back({2 * s, 2 * s + 1});
    for (int s = 0; s < sequences; ++s) {
      const int first = batch.rows(), length = 20;
      for (int i = 0; i < length; ++i) {
        batch.tokens.push_back((i * i * 7 + i) % 97);
        batch.positions.push_back(i);
      }
      batch.sequences.push_back({first, length, 0, tables[static_cast<size_t>(s)], adapters[static_cast<size_t>(s)]});
      batch.output_rows.push_back(batch.rows() - 1);
    }
    model.forward(batch);
    std::vector<float> all;
    for (int s = 0; s < sequences; ++s) {
      const std::span<const float> row = backend.read_logits(s);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }
  static void prepare(Backend& backend, const Model& model) {
    backend.reserve(128, 8, model.config().vocabulary);
    backend.allocate_kv(model.kv_layout(DType::kF32), 16);
  }
  static std::vector<float> logits_of(GgufBuilder file, const std::filesystem::path& path) {
    file.write(path);
    const auto backend = make_reference_backend({});
    const auto model = Model::load(*Checkpoint::open(path), *backend);
    prepare(*backend, *model);
    return logits(*backend, *model, 1, {kNoAdapter});
  }
  static void expect_near(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
  }
  std::string refusal(const std::filesystem::path& path, ErrorCode code) {
    try {
      const auto base = open_base({});
      const auto backend = make_reference_backend({});
      const auto model = Model::load(*base, *backend);
      model->load_adapter(0, *AdapterFile::open(path, "llama"));
    } catch (const Error& error) {
      EXPECT_EQ(error.code, code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "it loaded";
    return "";
  }

  TemporaryDirectory directory_;
  int files_ = 0;
};

const std::vector<std::string> kTargets = {"blk.0.attn_q.weight",      "blk.0.attn_k.weight",   "blk.0.attn_v.weight",
                                           "blk.1.attn_output.weight", "blk.1.ffn_gate.weight", "blk.1.ffn_up.weight",
                                           "blk.0.ffn_down.weight",    "output.weight"};
const std::map<std::string, std::string> kPublished = {{"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj"},
                                                       {"blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj"},
                                                       {"blk.1.ffn_up.weight", "model.layers.1.mlp.up_proj"}};
const json kPeftConfig = {{"peft_type", "LORA"}, {"r", kRank},        {"lora_alpha", 16},
                          {"bias", "none"},      {"use_dora", false}, {"rank_pattern", json::object()}};

TEST_F(AdapterTest, FourInOneBatchAreEachAsMergedAndAsAlone) {
  for (const char* architecture : {"llama", "qwen2"}) {
    const TinyModel tiny{.architecture = architecture};
    const auto base = open_base(tiny);
    const auto backend = make_reference_backend({});
    const auto model = Model::load(*base, *backend);
    std::vector<Adapter> adapters;
    for (int i = 0; i < 4; ++i) {
      adapters.push_back(random_adapter(*base, kTargets, static_cast<uint32_t>(10 + i)));
      model->load_adapter(i, *AdapterFile::open(write_gguf(adapters.back(), architecture, 12.0f), architecture));
    }
    prepare(*backend, *model);
    const std::vector<float> together = logits(*backend, *model, 5, {2, kNoAdapter, 0, 3, 1});
    const std::vector<int> order = {2, kNoAdapter, 0, 3, 1};
    for (size_t s = 0; s < order.size(); ++s) {
      const std::vector<float> mine(together.begin() + static_cast<std::ptrdiff_t>(s) * 97,
                                    together.begin() + static_cast<std::ptrdiff_t>(s + 1) * 97);
      EXPECT_EQ(mine, logits(*backend, *model, 1, {order[s]}));
      const Adapter none, &adapter = order[s] == kNoAdapter ? none : adapters[static_cast<size_t>(order[s])];
      const auto stays = [](const std::string&, int64_t row) { return row; };
      expect_near(mine,
                  logits_of(merged(tiny, *base, adapter, 12.0f / kRank, stays), directory_.path() / "merged.gguf"),
                  2e-4f);
    }
  }
}

// In GGUF's llama files rows i and i + 8 of a head of 16 stand side by side.
TEST_F(AdapterTest, PeftsRowsFollowTheBaseModels) {
  for (const char* architecture : {"llama", "qwen2"}) {
    const TinyModel tiny{.architecture = architecture};
    const auto base = open_base(tiny);
    const auto backend = make_reference_backend({});
    const auto model = Model::load(*base, *backend);
    const Adapter adapter =
        random_adapter(*base, {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.1.ffn_up.weight"}, 3);
    model->load_adapter(0, *AdapterFile::open(write_peft(adapter, kPublished, kPeftConfig), architecture));
    prepare(*backend, *model);
    const bool permuted = tiny.architecture == "llama";
    const auto row_of = [&](const std::string& name, int64_t row) {
      if (!permuted || name.find("attn_") == std::string::npos) return row;
      const int64_t within = row % 16;
      return row - within + (within < 8 ? 2 * within : 2 * (within - 8) + 1);
    };
    expect_near(logits(*backend, *model, 1, {0}),
                logits_of(merged(tiny, *base, adapter, 2.0f, row_of), directory_.path() / "merged.gguf"), 2e-4f);
  }
}

TEST_F(AdapterTest, RankStabilizedScaling) {
  const auto base = open_base({});
  const Adapter adapter = random_adapter(*base, {"blk.0.attn_q.weight"}, 3);
  json config = kPeftConfig;
  config["use_rslora"] = true;
  const auto file = AdapterFile::open(write_peft(adapter, kPublished, config), "llama");
  EXPECT_FLOAT_EQ(file->parts().at(0).scale, 16.0f / std::sqrt(8.0f));
}

TEST_F(AdapterTest, RefusesByNameWhatItCannotDo) {
  const auto base = open_base({});
  const Adapter adapter = random_adapter(*base, {"blk.0.attn_q.weight"}, 3);
  const std::vector<std::pair<json, std::string>> changes = {{{{"peft_type", "IA3"}}, "IA3"},
                                                             {{{"use_dora", true}}, "use_dora"},
                                                             {{{"bias", "all"}}, "bias"},
                                                             {{{"modules_to_save", {"lm_head"}}}, "modules_to_save"},
                                                             {{{"rank_pattern", {{"q", 4}}}}, "rank_pattern"}};
  for (const auto& [change, word] : changes) {
    json config = kPeftConfig;
    config.update(change);
    EXPECT_NE(refusal(write_peft(adapter, kPublished, config), ErrorCode::kUnsupported).find(word), std::string::npos);
  }
  json config = kPeftConfig;
  config.erase("r");
  refusal(write_peft(adapter, kPublished, config), ErrorCode::kCorruptFile);
  refusal(write_gguf(adapter, "qwen2", 8.0f), ErrorCode::kUnsupported);
  refusal(write_gguf({}, "llama", 8.0f), ErrorCode::kCorruptFile);
  EXPECT_NE(refusal(directory_.path() / "base.gguf", ErrorCode::kUnsupported).find("no LoRA adapter"),
            std::string::npos);
  const Adapter norms = {
      {"blk.0.attn_norm.weight", {std::vector<float>(kRank * 4), std::vector<float>(kRank * 4), 4, 4}}};
  EXPECT_NE(refusal(write_gguf(norms, "llama", 8.0f), ErrorCode::kUnsupported).find("attn_norm"), std::string::npos);
  const Adapter narrow = {
      {"blk.0.attn_q.weight", {std::vector<float>(kRank * 4), std::vector<float>(kRank * 64), 64, 4}}};
  EXPECT_NE(refusal(write_gguf(narrow, "llama", 8.0f), ErrorCode::kUnsupported).find("64 x 4"), std::string::npos);
  std::filesystem::create_directories(directory_.path() / "empty");
  refusal(directory_.path() / "empty", ErrorCode::kNotFound);
}

}  // namespace
}  // namespace carronade
