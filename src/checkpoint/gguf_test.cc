#include "checkpoint/gguf.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "base/testing.h"
#include "checkpoint/gguf_builder.h"

namespace carronade {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

GgufBuilder small_model() {
  std::mt19937 random(7);
  GgufBuilder file;
  file.set("general.architecture", "llama")
      .set("llama.block_count", uint32_t{2})
      .set("llama.rope.freq_base", 10000.0f)
      .set("tokenizer.ggml.model", "gpt2")
      .set("tokenizer.ggml.pre", "smollm")
      .set("tokenizer.ggml.tokens", std::vector<std::string>{"<|endoftext|>", "a", "b", "ab", "<|im_end|>", "</s>"})
      .set("tokenizer.ggml.token_type", std::vector<int32_t>{3, 1, 1, 1, 3, 1})
      .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
      .set("tokenizer.ggml.eos_token_id", uint32_t{4})
      .set("tokenizer.ggml.bos_token_id", uint32_t{0})
      .set("tokenizer.ggml.add_bos_token", false)
      .set("tokenizer.chat_template", "{{ messages }}")
      .set("tokenizer.chat_template.tool_use", "{{ tools }}");
  file.random_tensor("token_embd.weight", DType::kQ8_0, {6, 64}, random);
  file.random_tensor("blk.0.attn_norm.weight", DType::kF32, {64}, random);
  return file;
}

TEST(Gguf, ShapesAreOutermostFirstAndBytesAreTheFilesOwn) {
  GgufBuilder builder = small_model();
  const TemporaryDirectory directory;
  builder.write(directory.path() / "small.gguf");
  const auto checkpoint = Checkpoint::open(directory.path() / "small.gguf");
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  const TensorView& embedding = *checkpoint->find("token_embd.weight");
  EXPECT_EQ(embedding.dtype, DType::kQ8_0);
  EXPECT_EQ(embedding.shape, (std::vector<int64_t>{6, 64}));
  EXPECT_EQ(embedding.rows(), 6);
  EXPECT_EQ(embedding.columns(), 64);
  ASSERT_NE(embedding.file, nullptr);
  EXPECT_EQ(embedding.bytes.data(), embedding.file->bytes().data() + builder.place("data token_embd.weight"));
  EXPECT_EQ(embedding.bytes.size(), 6u * 68);
  EXPECT_EQ(checkpoint->find("blk.0.attn_norm.weight")->rows(), 1);
  EXPECT_EQ(checkpoint->find("nothing"), nullptr);
  EXPECT_EQ(checkpoint->format(), "GGUF v3");
  EXPECT_EQ(checkpoint->file_bytes(), builder.build().size());
  EXPECT_EQ(checkpoint->architecture(), "llama");
}

TEST(Gguf, ReadsVersionTwoToo) {
  GgufBuilder builder = small_model();
  builder.version = 2;
  const std::string file = builder.build();
  EXPECT_EQ(open_gguf_bytes(bytes_of(file), "two.gguf")->format(), "GGUF v2");
}

TEST(Gguf, MetadataOfEveryTypeComesOut) {
  GgufBuilder builder;
  builder.set("u8", uint8_t{200}).set("i8", int8_t{-3}).set("u16", uint16_t{60000}).set("i16", int16_t{-300});
  builder.set("u32", uint32_t{4000000000}).set("i32", int32_t{-7}).set("u64", uint64_t{5}).set("i64", int64_t{-5});
  builder.set("huge", ~uint64_t{0}).set("f32", 0.5f).set("f64", 0.25).set("yes", true).set("text", "carronade");
  builder.set("ints", std::vector<int32_t>{-1, 2})
      .set("floats", std::vector<float>{0.5f})
      .set("none", std::vector<float>{});
  builder.set("texts", std::vector<std::string>{"a", ""});
  builder.put("bools", 9, GgufBuilder::raw(uint32_t{7}) + GgufBuilder::raw(uint64_t{2}) + std::string("\1\0", 2));
  const std::string file = builder.build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "x.gguf");
  const auto& metadata = checkpoint->metadata();
  EXPECT_EQ(checkpoint->integer("u8"), 200);
  EXPECT_EQ(checkpoint->integer("i8"), -3);
  EXPECT_EQ(checkpoint->integer("u16"), 60000);
  EXPECT_EQ(checkpoint->integer("i16"), -300);
  EXPECT_EQ(checkpoint->integer("u32"), 4000000000);
  EXPECT_EQ(checkpoint->integer("i32"), -7);
  EXPECT_EQ(checkpoint->integer("u64"), 5);
  EXPECT_EQ(checkpoint->integer("i64"), -5);
  EXPECT_EQ(metadata.at("huge"), MetadataValue(~uint64_t{0}));
  EXPECT_THROW(checkpoint->integer("huge"), Error);
  EXPECT_EQ(checkpoint->real("f32"), 0.5);
  EXPECT_EQ(checkpoint->real("f64"), 0.25);
  EXPECT_EQ(checkpoint->real("i32"), -7.0);
  EXPECT_EQ(checkpoint->boolean("yes"), true);
  EXPECT_EQ(checkpoint->string("text"), "carronade");
  EXPECT_EQ(checkpoint->string("absent"), std::nullopt);
  EXPECT_EQ(checkpoint->boolean("absent"), std::nullopt);
  EXPECT_EQ(metadata.at("ints"), MetadataValue(std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(metadata.at("floats"), MetadataValue(std::vector<double>{0.5}));
  EXPECT_EQ(metadata.at("none"), MetadataValue(std::vector<double>{}));
  EXPECT_EQ(metadata.at("texts"), MetadataValue(std::vector<std::string>{"a", ""}));
  EXPECT_EQ(metadata.at("bools"), MetadataValue(std::vector<bool>{true, false}));
}

TEST(Gguf, AValueOfAnotherTypeIsNamed) {
  const std::string file = GgufBuilder().set("general.architecture", uint32_t{1}).set("count", "many").build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "x.gguf");
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kCorruptFile);
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { checkpoint->integer("count"); }), "x.gguf: metadata count should be an integer");
  EXPECT_EQ(message([&] { checkpoint->real("count"); }), "x.gguf: metadata count should be a number");
  EXPECT_EQ(message([&] { checkpoint->boolean("count"); }), "x.gguf: metadata count should be true or false");
  EXPECT_EQ(message([&] { checkpoint->architecture(); }), "x.gguf: metadata general.architecture should be a text");
}

TEST(Gguf, InvalidUtf8InATextIsRepaired) {
  const std::string file = GgufBuilder().set("general.name", "caf\xe9 \xed\xa0\x80 \xf0\x9f\x98\x80").build();
  EXPECT_EQ(open_gguf_bytes(bytes_of(file), "x.gguf")->string("general.name"),
            "caf\uFFFD \uFFFD\uFFFD\uFFFD \xf0\x9f\x98\x80");
}

TEST(Gguf, TokenizerTemplateAndEnds) {
  const std::string file = small_model().build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "small.gguf");
  const TokenizerData data = checkpoint->tokenizer_data();
  EXPECT_EQ(data.model, "gpt2");
  EXPECT_EQ(data.pre, "smollm");
  EXPECT_EQ(data.tokens, (std::vector<std::string>{"<|endoftext|>", "a", "b", "ab", "<|im_end|>", "</s>"}));
  EXPECT_EQ(data.types[4], TokenType::kControl);
  EXPECT_EQ(data.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(data.eos, 4);
  EXPECT_EQ(data.bos, 0);
  EXPECT_EQ(data.unknown, -1);
  EXPECT_FALSE(data.add_bos);
  EXPECT_EQ(checkpoint->chat_template(), "{{ messages }}");
  EXPECT_EQ(checkpoint->string("tokenizer.chat_template.tool_use"), "{{ tools }}");
  EXPECT_FALSE(checkpoint->metadata().contains("tokenizer.ggml.tokens"));
  // <|im_end|> by id, <|endoftext|> by its spelling; "</s>" is ordinary text here.
  EXPECT_EQ(checkpoint->end_of_generation(), (std::vector<TokenId>{0, 4}));
}

TEST(Gguf, WithoutTokenizerOrTemplate) {
  const std::string file = GgufBuilder().set("general.architecture", "llama").build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "x.gguf");
  EXPECT_THROW(checkpoint->tokenizer_data(), Error);
  EXPECT_EQ(checkpoint->chat_template(), std::nullopt);
  EXPECT_TRUE(checkpoint->end_of_generation().empty());
}

std::vector<TokenId> ends_of(const std::vector<std::string>& tokens, const std::vector<int32_t>& types) {
  GgufBuilder builder;
  builder.set("tokenizer.ggml.tokens", tokens);
  if (!types.empty()) builder.set("tokenizer.ggml.token_type", types);
  const std::string file = builder.build();
  return open_gguf_bytes(bytes_of(file), "x.gguf")->end_of_generation();
}

TEST(EndOfGeneration, KnownSpellings) {
  EXPECT_EQ(
      ends_of({"<|eot_id|>", "<｜end▁of▁sentence｜>", "<end_of_turn>", "<|eom_id|>", "hello", "<|im_start|>"}, {}),
      (std::vector<TokenId>{0, 1, 2, 3}));
  // A mistyped but unmistakable token ends; a tag of HTML only when it is a control token.
  EXPECT_EQ(ends_of({"<|im_end|>", "</s>", "</s>"}, {1, 1, 3}), (std::vector<TokenId>{0, 2}));
  // Harmony: <|end|> closes a channel, not the answer.
  EXPECT_EQ(ends_of({"<|end|>", "<|return|>", "<|call|>"}, {3, 3, 3}), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(ends_of({"<|end|>", "<|return|>"}, {3, 3}), (std::vector<TokenId>{0, 1}));
  EXPECT_EQ(ends_of({"<|tool_response>", "</s>"}, {3, 3}), (std::vector<TokenId>{0}));
}

TEST(Gguf, RequireNamesWhatIsMissingOrOfAnotherShape) {
  const std::string file = small_model().build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "small.gguf");
  const int64_t any_rows[] = {-1, 64}, other[] = {6, 32}, flat[] = {384};
  EXPECT_EQ(&checkpoint->require("token_embd.weight", any_rows), checkpoint->find("token_embd.weight"));
  const auto message = [&](std::string_view name, std::span<const int64_t> shape) -> std::string {
    try {
      checkpoint->require(name, shape);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message("token_embd.weight", other),
            "small.gguf: the tensor token_embd.weight has the shape [6, 64], expected [6, 32]");
  EXPECT_EQ(message("token_embd.weight", flat),
            "small.gguf: the tensor token_embd.weight has the shape [6, 64], expected [384]");
  EXPECT_EQ(message("output.weight", any_rows), "small.gguf: the tensor output.weight [any, 64] is missing");
}

TEST(Gguf, AnotherAlignmentIsObeyed) {
  GgufBuilder builder = small_model();
  builder.alignment = 256;
  builder.set("general.alignment", uint32_t{256});
  const std::string file = builder.build();
  const auto checkpoint = open_gguf_bytes(bytes_of(file), "x.gguf");
  EXPECT_EQ(checkpoint->find("blk.0.attn_norm.weight")->bytes.data(),
            bytes_of(file).data() + builder.place("data blk.0.attn_norm.weight"));
}

TEST(Gguf, OpenHeadNeedsOnlyTheBeginning) {
  GgufBuilder builder = small_model();
  const std::string file = builder.build();
  const TemporaryDirectory directory;
  const auto path = directory.path() / "part.gguf";
  std::ofstream(path, std::ios::binary).write(file.data(), static_cast<std::streamsize>(builder.place("end of head")));
  EXPECT_THROW(Checkpoint::open(path), Error);
  const auto checkpoint = Checkpoint::open_head(path);
  EXPECT_EQ(checkpoint->tokenizer_data().tokens.size(), 6u);
  ASSERT_NE(checkpoint->find("token_embd.weight"), nullptr);
  EXPECT_EQ(checkpoint->find("token_embd.weight")->shape, (std::vector<int64_t>{6, 64}));
  EXPECT_TRUE(checkpoint->find("token_embd.weight")->bytes.empty());
}

// Three parts, as llama.cpp's gguf-split writes them.
class SplitGguf : public testing::Test {
 protected:
  GgufBuilder part(int index, int count = 3) {
    GgufBuilder file;
    if (index == 0) file.set("general.architecture", "llama").set("split.tensors.count", int32_t{3});
    file.set("split.no", static_cast<uint16_t>(index)).set("split.count", static_cast<uint16_t>(count));
    file.random_tensor("t" + std::to_string(index), DType::kF32, {2, 4 + index}, random_);
    return file;
  }
  std::filesystem::path path(int index) const {
    return directory_.path() / ("m-0000" + std::to_string(index + 1) + "-of-00003.gguf");
  }
  std::string error() const {
    try {
      Checkpoint::open(path(0));
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  void write_all() {
    for (int i = 0; i < 3; ++i) part(i).write(path(i));
  }
  bool error_has(const std::string& expected) const { return error().find(expected) != std::string::npos; }

  std::mt19937 random_{3};
  TemporaryDirectory directory_;
};

TEST_F(SplitGguf, TensorsOfAllPartsAreThere) {
  write_all();
  const auto checkpoint = Checkpoint::open(path(0));
  EXPECT_EQ(checkpoint->architecture(), "llama");
  for (int i = 0; i < 3; ++i) {
    const TensorView* tensor = checkpoint->find("t" + std::to_string(i));
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->columns(), 4 + i);
    EXPECT_EQ(tensor->file->path(), path(i));
  }
  uint64_t bytes = 0;
  for (int i = 0; i < 3; ++i) bytes += std::filesystem::file_size(path(i));
  EXPECT_EQ(checkpoint->file_bytes(), bytes);
}

TEST_F(SplitGguf, AMissingPartIsNamed) {
  write_all();
  std::filesystem::remove(path(1));
  EXPECT_TRUE(error_has("m-00002-of-00003.gguf: part 2 of 3")) << error();
}

TEST_F(SplitGguf, AnyOtherThanTheFirstPartPointsToIt) {
  write_all();
  try {
    Checkpoint::open(path(2));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("this is part 3 of 3; open the first part"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find(path(0).string()), std::string::npos);
  }
}

TEST_F(SplitGguf, DamageIsNamed) {
  write_all();
  part(1, 4).write(path(1));
  EXPECT_TRUE(error_has("split.count is 4, expected 3")) << error();
  part(2).write(path(1));
  EXPECT_TRUE(error_has("split.no is 2, expected 1")) << error();
  part(1).random_tensor("t0", DType::kF32, {4}, random_).write(path(1));
  EXPECT_TRUE(error_has("split.tensors.count is 3, and the 3 parts hold 4")) << error();
  part(0).set("split.tensors.count", int32_t{4}).write(path(0));
  EXPECT_TRUE(error_has("the tensor t0 stands in two parts")) << error();
  part(0).set("split.count", "three").write(path(0));
  EXPECT_TRUE(error_has("metadata split.count should be an integer")) << error();
  part(0).set("split.count", int32_t{-2}).write(path(0));
  EXPECT_TRUE(error_has("split.no is 0 and split.count is -2")) << error();
  part(0).set("split.count", uint16_t{2}).write(path(0));
  EXPECT_TRUE(error_has("its name should end in -00001-of-00002.gguf")) << error();
}

}  // namespace
}  // namespace carronade
