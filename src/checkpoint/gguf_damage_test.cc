// Damaged files, one by one. Each must end in its own clear line: one Error which names the file and says what is
// wrong.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>
#include <set>

#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_builder.h"

namespace carronade {
namespace {

constexpr uint64_t kHuge = ~uint64_t{0};

GgufBuilder sound() {
  std::mt19937 random(11);
  GgufBuilder file;
  file.set("general.architecture", "llama")
      .set("general.alignment", uint32_t{32})
      .set("general.tags", std::vector<std::string>{"one", "two"})
      .set("answer", uint16_t{42})
      .set("flag", true)
      .set("ratio", 0.5f)
      .set("layers", std::vector<uint32_t>{1, 2, 3})
      .set("tokenizer.ggml.model", "llama")
      .set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "</s>"})
      .set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 3})
      .set("tokenizer.ggml.scores", std::vector<float>{0, -1, -2})
      .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
      .set("tokenizer.ggml.eos_token_id", uint32_t{2});
  file.random_tensor("embed", DType::kQ4_0, {4, 64}, random);
  file.random_tensor("norm", DType::kF32, {5}, random);
  file.random_tensor("cube", DType::kF16, {2, 3, 5}, random);
  return file;
}

// Opening a file as a server does: everything that a checkpoint offers is asked for once.
void use(const std::string& file) {
  const auto checkpoint =
      open_gguf_bytes({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "damaged.gguf");
  checkpoint->architecture();
  checkpoint->tokenizer_data();
  checkpoint->chat_template();
  checkpoint->end_of_generation();
}

struct Case {
  std::string name;      // of the test
  std::string expected;  // a part of the message that only this damage gives
  std::function<std::string()> make;
  ErrorCode code = ErrorCode::kCorruptFile;
};

void PrintTo(const Case& damage, std::ostream* out) { *out << damage.name; }

// The sound file with `value` written over its bytes at a named place (plus `shift`).
template <typename T>
std::function<std::string()> overwrite(const std::string& place, T value, size_t shift = 0) {
  return [=] {
    GgufBuilder builder = sound();
    std::string file = builder.build();
    std::memcpy(file.data() + builder.place(place) + shift, &value, sizeof(T));
    return file;
  };
}

// The sound file cut at a named place (plus `shift`).
std::function<std::string()> cut(const std::string& place, size_t shift = 0) {
  return [=] {
    GgufBuilder builder = sound();
    const std::string file = builder.build();
    return file.substr(0, builder.place(place) + shift);
  };
}

// The sound file with other content, well formed as far as the writer goes.
std::function<std::string()> change(const std::function<void(GgufBuilder&)>& edit) {
  return [=] {
    GgufBuilder builder = sound();
    edit(builder);
    return builder.build();
  };
}

std::string raw_list(uint32_t type, uint64_t count, const std::string& payload) {
  return GgufBuilder::raw(type) + GgufBuilder::raw(count) + payload;
}

// Zeros stand where the tensor that is one too many would be.
std::string one_tensor_too_many() {
  GgufBuilder builder = sound();
  std::string file = builder.build().substr(0, builder.place("end of head")) + std::string(40, '\0');
  file[builder.place("tensors")] = 4;
  return file;
}

std::vector<Case> header_cases() {
  const auto text = [](const std::string& bytes) { return [=] { return bytes; }; };
  return {
      {"Empty", "expected the letters GGUF, and the file has only 0 bytes", text("")},
      {"ThreeBytes", "has only 3 bytes", text("GGU")},
      {"OtherMagic", "expected the letters GGUF, found \"GGML\"", [] { return "GGML" + sound().build().substr(4); }},
      {"Html", "found \"<htm\"", text("<html>404 Not Found</html>")},
      {"GitLfsPointer", "a Git LFS pointer",
       text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")},
      {"BinaryMagic", "found \"\\x00\\x01\\xff\\x1b\"", text(std::string("\0\1\xff\x1bxxxxxxxxxxxxxxxxxxxx", 24))},
      {"NoVersion", "inside the version: 4 bytes are needed and 0 are left", text("GGUF")},
      {"VersionZero", "GGUF version 0 is not supported", change([](auto& b) { b.version = 0; }),
       ErrorCode::kUnsupported},
      {"VersionOne", "GGUF version 1 is not supported; supported: 2 and 3", change([](auto& b) { b.version = 1; }),
       ErrorCode::kUnsupported},
      {"VersionFour", "GGUF version 4 is not supported", change([](auto& b) { b.version = 4; }),
       ErrorCode::kUnsupported},
      {"BigEndian", "big-endian", change([](auto& b) { b.version = 0x03000000; }), ErrorCode::kUnsupported},
      {"CutInTensorCount", "inside the number of tensors", cut("tensors", 7)},
      {"CutInPairCount", "inside the number of metadata entries",
       text("GGUF" + GgufBuilder::raw(uint32_t{3}) + std::string(11, '\0'))},
      {"HugeTensorCount", "18446744073709551615 tensors are declared", overwrite("tensors", kHuge)},
      {"HugePairCount", "18446744073709551615 metadata entries are declared", overwrite("pairs", kHuge)},
      {"TensorCountJustTooLarge", "tensors are declared, and the", overwrite("tensors", uint64_t{60})},
      {"OneTensorTooMany", "the name of a tensor is empty", one_tensor_too_many},
      {"OnePairTooMany", "the length of the name of a tensor is", overwrite("pairs", uint64_t{14})},
      {"OnePairTooFew", "tensor tokenizer.ggml.eos_token_id has", overwrite("pairs", uint64_t{12})},
  };
}

std::vector<Case> metadata_cases() {
  return {
      {"HugeKeyLength", "the length of a metadata key is 18446744073709551615", overwrite("key answer", kHuge)},
      {"KeyBeyondTheEnd", "the length of a metadata key is 100000", overwrite("key answer", uint64_t{100000})},
      {"EmptyKey", "a metadata key is empty", change([](auto& b) { b.set("", true); })},
      {"LongKey", "has 65536 bytes; at most 65535", change([](auto& b) { b.set(std::string(65536, 'k'), true); })},
      {"KeyNotUtf8", "\"k\\xffy\" is not valid UTF-8", change([](auto& b) { b.set("k\xffy", true); })},
      {"DuplicateKey", "the metadata key answer stands there twice",
       change([](auto& b) { b.append("answer", 7, "\1"); })},
      {"DuplicateList", "key tokenizer.ggml.merges stands there twice",
       change([](auto& b) { b.append("tokenizer.ggml.merges", 9, raw_list(8, 0, "")); })},
      {"UnknownType", "metadata answer has the unknown type 13", overwrite("type answer", uint32_t{13})},
      {"HugeType", "has the unknown type 4294967295", overwrite("type answer", ~uint32_t{0})},
      {"CutInType", "inside the type of a metadata value", cut("type tokenizer.ggml.merges", 2)},
      {"CutInValue", "inside a metadata value: 4 bytes are needed and 3", cut("value ratio", 3)},
      {"CutInText", "the length of the text of tokenizer.ggml.model is 5, and the file has only 2",
       cut("value tokenizer.ggml.model", 10)},
      {"HugeText", "the length of the text of general.architecture is 18446744073709551615",
       overwrite("value general.architecture", kHuge)},
      {"TextBeyondTheEnd", "the length of the text of general.architecture is 65536",
       overwrite("value general.architecture", uint64_t{65536})},
      {"BoolOfTwo", "metadata flag should be true (1) or false (0), found 2", overwrite("value flag", uint8_t{2})},
      {"BoolOfTwoInAList", "metadata bits should be true (1) or false (0), found 9",
       change([](auto& b) { b.put("bits", 9, raw_list(7, 2, "\1\x09")); })},
      {"UnknownElementType", "metadata layers has the unknown type 77", overwrite("value layers", uint32_t{77})},
      {"ListOfLists", "metadata layers is a list of lists", overwrite("value layers", uint32_t{9}),
       ErrorCode::kUnsupported},
      {"HugeList", "the list layers declares 18446744073709551615 elements", overwrite("value layers", kHuge, 4)},
      {"ListWhoseBytesOverflow", "declares 4611686018427387904 elements",
       overwrite("value layers", uint64_t{1} << 62, 4)},
      {"ListBeyondTheEnd", "the list layers declares 5000 elements", overwrite("value layers", uint64_t{5000}, 4)},
      {"HugeTextInAList", "the length of the text of general.tags is 72057594037927936",
       overwrite("value general.tags", uint64_t{1} << 56, 12)},
      {"IntegerOf64BitsInAList", "an element of wide does not fit 63 bits", change([](auto& b) {
         b.set("wide", std::vector<uint64_t>{1, kHuge});
       })},
      {"ListTooLong", "the list long has 1048577 elements; at most",
       change([](auto& b) { b.put("long", 9, raw_list(0, (1 << 20) + 1, std::string((1 << 20) + 1, 'x'))); })},
      {"ListsTooLongTogether", "the list second has 1048570 elements; at most", change([](auto& b) {
         const std::string payload = raw_list(0, (1 << 20) - 6, std::string((1 << 20) - 6, 'x'));
         b.put("first", 9, payload).put("second", 9, payload);
       })},
      {"AlignmentZero", "general.alignment must be a power of two up to 1048576, it is 0",
       overwrite("value general.alignment", uint32_t{0})},
      {"AlignmentOdd", "it is 33", overwrite("value general.alignment", uint32_t{33})},
      {"AlignmentHuge", "it is 2147483648", overwrite("value general.alignment", uint32_t{1} << 31)},
      {"AlignmentNegative", "it is -32", change([](auto& b) { b.set("general.alignment", int32_t{-32}); })},
      {"AlignmentText", "it is not an integer", change([](auto& b) { b.set("general.alignment", "32"); })},
      {"NoArchitecture", "does not say its architecture", change([](auto& b) { b.set("general.architecture", ""); })},
      {"ArchitectureNumber", "general.architecture should be a text",
       change([](auto& b) { b.set("general.architecture", uint32_t{1}); })},
  };
}

std::vector<Case> tokenizer_cases() {
  using Texts = std::vector<std::string>;
  return {
      {"TokensNotAList", "tokenizer.ggml.tokens must be a list",
       change([](auto& b) { b.set("tokenizer.ggml.tokens", "a"); })},
      {"TokensOfNumbers", "tokenizer.ggml.tokens should be a list of texts", change([](auto& b) {
         b.set("tokenizer.ggml.tokens", std::vector<int32_t>{1, 2, 3});
       })},
      {"TypesOfFloats", "tokenizer.ggml.token_type should be a list of 32-bit integers", change([](auto& b) {
         b.set("tokenizer.ggml.token_type", std::vector<float>{1, 1, 3});
       })},
      {"TooFewTypes", "tokenizer.ggml.token_type has 2 elements for 3 tokens", change([](auto& b) {
         b.set("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1});
       })},
      {"UnknownTokenType", "token 1 has the type 7", overwrite("value tokenizer.ggml.token_type", int32_t{7}, 16)},
      {"NegativeTokenType", "token 2 has the type -1", overwrite("value tokenizer.ggml.token_type", int32_t{-1}, 20)},
      {"TooManyScores", "tokenizer.ggml.scores has 4 elements for 3 tokens", change([](auto& b) {
         b.set("tokenizer.ggml.scores", std::vector<float>{1, 2, 3, 4});
       })},
      {"ScoresOfTexts", "tokenizer.ggml.scores should be a list of 32-bit floats", change([](auto& b) {
         b.set("tokenizer.ggml.scores", Texts{"1", "2", "3"});
       })},
      {"MergesOfNumbers", "tokenizer.ggml.merges should be a list of texts",
       change([](auto& b) { b.set("tokenizer.ggml.merges", std::vector<int32_t>{1}); })},
      {"HugeToken", "the length of tokenizer.ggml.tokens is 18446744073709551615",
       overwrite("value tokenizer.ggml.tokens", kHuge, 12)},
      {"TooManyTokens", "the list tokenizer.ggml.tokens has 4194305 elements; at most 4194304", change([](auto& b) {
         b.put("tokenizer.ggml.tokens", 9, raw_list(8, (1 << 22) + 1, std::string(((1 << 22) + 1) * 8, '\0')));
       })},
      {"EndOutsideOfTheVocabulary", "tokenizer.ggml.eos_token_id is 3, and there are 3 tokens",
       overwrite("value tokenizer.ggml.eos_token_id", uint32_t{3})},
      {"BeginOutsideOfTheVocabulary", "tokenizer.ggml.bos_token_id is -2",
       change([](auto& b) { b.set("tokenizer.ggml.bos_token_id", int32_t{-2}); })},
      {"TurnEndOutsideOfTheVocabulary", "tokenizer.ggml.eot_token_id is 900",
       change([](auto& b) { b.set("tokenizer.ggml.eot_token_id", uint32_t{900}); })},
      {"EndIsAText", "tokenizer.ggml.eos_token_id should be an integer",
       change([](auto& b) { b.set("tokenizer.ggml.eos_token_id", "</s>"); })},
      {"ModelIsANumber", "tokenizer.ggml.model should be a text",
       change([](auto& b) { b.set("tokenizer.ggml.model", uint32_t{1}); })},
      {"TemplateIsANumber", "tokenizer.chat_template should be a text",
       change([](auto& b) { b.set("tokenizer.chat_template", 1.0f); })},
  };
}

std::vector<Case> tensor_cases() {
  const auto again = [](const std::string& name) {
    return change([=](auto& b) { b.tensor(name, DType::kF32, {1}, std::string(4, 'x')); });
  };
  return {
      {"HugeTensorName", "the length of the name of a tensor is 18446744073709551615", overwrite("name norm", kHuge)},
      {"EmptyTensorName", "the name of a tensor is empty", again("")},
      {"LongTensorName", "a tensor's name has 70000 bytes", again(std::string(70000, 't'))},
      {"TensorNameNotUtf8", "the tensor name \"\\xc3(\" is not valid UTF-8", again("\xc3(")},
      {"DuplicateTensor", "the tensor norm stands there twice", again("norm")},
      {"TensorNameWithEscapes", "the tensor \\x1b[31m stands there twice", change([](auto& b) {
         for (int i = 0; i < 2; ++i) b.tensor("\x1b[31m", DType::kF32, {1}, std::string(4, 'x'));
       })},
      {"NoDimensions", "tensor norm has 0 dimensions", overwrite("dimensions norm", uint32_t{0})},
      {"FiveDimensions", "tensor norm has 5 dimensions; 1 to 4", overwrite("dimensions norm", uint32_t{5})},
      {"HugeDimensions", "tensor norm has 4294967295 dimensions", overwrite("dimensions norm", ~uint32_t{0})},
      {"ExtentZero", "tensor cube has the extent 0 in dimension 1", overwrite("shape cube", uint64_t{0}, 8)},
      {"HugeExtent", "tensor norm has more elements than 63 bits can count", overwrite("shape norm", kHuge)},
      {"ElementsOverflow", "tensor cube has more elements than 63 bits", overwrite("shape cube", uint64_t{1} << 61, 8)},
      {"BytesOverflow", "tensor norm has more bytes than 64 bits", overwrite("shape norm", (uint64_t{1} << 62) + 1)},
      {"PlaceOverflows", "tensor norm lies at bytes beyond 2^64",
       [] {
         std::string file = overwrite("shape norm", (uint64_t{1} << 62) - 1)();
         GgufBuilder builder = sound();
         builder.build();
         const uint64_t offset = uint64_t{1} << 63;
         std::memcpy(file.data() + builder.place("offset norm"), &offset, 8);
         return file;
       }},
      {"TooLargeForTheFile", "and the file ends at", overwrite("shape norm", uint64_t{1000})},
      {"UnsupportedType", "tensor embed has the type IQ2_XXS, which is not supported; supported: F32 F16 BF16 Q4_0",
       overwrite("dtype embed", uint32_t{16}), ErrorCode::kUnsupported},
      {"RemovedType", "has the type Q4_2", overwrite("dtype embed", uint32_t{4}), ErrorCode::kUnsupported},
      {"UnknownTensorType", "tensor embed has the type number 1000", overwrite("dtype embed", uint32_t{1000}),
       ErrorCode::kUnsupported},
      {"PartialBlock",
       "tensor norm has rows of 5 elements, which is not a multiple of the 32 that make a block of Q8_0",
       overwrite("dtype norm", uint32_t{8})},
      {"PartialSuperBlock", "not a multiple of the 256 that make a block of Q4_K",
       overwrite("dtype embed", uint32_t{12})},
      {"OffsetNotAligned", "tensor norm has the offset 148, which is not a multiple of the alignment 32",
       overwrite("offset norm", uint64_t{148})},
      {"OffsetBeyondTheEnd", "tensor norm lies at bytes", overwrite("offset norm", uint64_t{1} << 20)},
      {"HugeOffset", "tensor norm lies at bytes beyond 2^64", overwrite("offset norm", kHuge - 31)},
      {"SamePlace", "tensors embed", overwrite("offset norm", uint64_t{0})},
      {"PartialOverlap", "overlap", overwrite("offset norm", uint64_t{128})},
      {"CutInTheTable", "inside the shape of a tensor", cut("shape cube", 20)},
      {"CutBeforeAnOffset", "inside the offset of a tensor", cut("offset cube", 1)},
      {"CutBeforeTheType", "inside the type of a tensor", cut("dtype cube", 0)},
      {"CutBeforeTheData", "tensor embed lies at bytes", cut("end of head")},
      {"CutInTheData", "tensor cube lies at bytes", cut("data cube", 59)},
  };
}

std::vector<Case> all_cases() {
  std::vector<Case> all = header_cases();
  for (auto more : {metadata_cases(), tokenizer_cases(), tensor_cases()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

class DamagedGguf : public testing::TestWithParam<Case> {};

TEST_P(DamagedGguf, IsOneClearLine) {
  const std::string file = GetParam().make();
  try {
    use(file);
    FAIL() << "the file was accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(GetParam().expected), std::string::npos) << message;
    EXPECT_EQ(message.find("damaged.gguf: "), 0u) << message;
    EXPECT_EQ(message.find_first_of("\n\r\x1b"), std::string::npos) << message;
    EXPECT_LT(message.size(), 400u) << message;
    EXPECT_EQ(error.code, GetParam().code) << message;
    EXPECT_EQ(error.param, "damaged.gguf");
  }
}

INSTANTIATE_TEST_SUITE_P(, DamagedGguf, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(GgufDamage, TheUndamagedFileIsSound) { EXPECT_NO_THROW(use(sound().build())); }

TEST(GgufDamage, EveryCutIsAnError) {
  GgufBuilder builder = sound();
  const std::string file = builder.build();
  for (size_t length = 0; length < file.size(); ++length) {
    EXPECT_THROW(use(file.substr(0, length)), Error) << "cut at " << length << " of " << file.size();
  }
}

// Any byte, any of these values: an Error or a sound checkpoint, never anything else. (Run under ASan, this is a small
// fuzzer.)
TEST(GgufDamage, AnyChangedByteIsHarmless) {
  GgufBuilder builder = sound();
  const std::string file = builder.build();
  for (size_t at = 0; at < builder.place("end of head"); ++at) {
    for (const int value : {0, 1, 8, 9, 32, 127, 128, 255}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(value);
      try {
        use(damaged);
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find("damaged.gguf: "), 0u) << error.what();
      }
    }
  }
}

}  // namespace
}  // namespace carronade
