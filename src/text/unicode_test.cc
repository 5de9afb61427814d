#include "text/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "text/unicode_tables.h"

namespace carronade {
namespace {

std::string nfc(std::string_view text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}
std::string nfd(std::string_view text) {
  std::string buffer;
  return std::string(to_nfd(text, buffer));
}

TEST(Unicode, EveryCodePointGoesThroughUtf8AndHasTheClassOfItsRange) {
  size_t range = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    while (range + 1 < unicode_tables::kClassRangeCount && unicode_tables::kClassRanges[range + 1].first <= c) ++range;
    ASSERT_EQ(CharClasses::instance().of(c), unicode_tables::kClassRanges[range].classes)
        << std::hex << static_cast<uint32_t>(c);
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_TRUE(is_valid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(decode_char(text, 0).value, c);
    ASSERT_EQ(decode_char(text, 0).length, text.size());
  }
}

TEST(Unicode, KnowsClasses) {
  const CharClasses& classes = CharClasses::instance();
  EXPECT_EQ(classes.of('a') & (kLetter | kNumber | kSpace), kLetter);
  EXPECT_EQ(classes.of(0x0967) & (kLetter | kNumber), kNumber);
  EXPECT_TRUE(classes.of(0x3000) & kSpace);
  EXPECT_FALSE(classes.of(0x200B) & kSpace);
  EXPECT_FALSE(classes.of(0x1C) & kSpace);
  EXPECT_TRUE(classes.of('$') & kSymbol);
  EXPECT_TRUE(classes.of('$') & kDelimiter);
  EXPECT_TRUE(classes.of(0x0301) & kMark);
}

TEST(Unicode, InvalidPartsAreMaximal) {
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\xA6z"), "\uFFFDz");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD") << "a surrogate";
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), "\uFFFD\uFFFD") << "an overlong form";
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD") << "past U+10FFFF";
  EXPECT_EQ(replace_invalid_utf8("ok \U0001F999"), "ok \U0001F999");
  EXPECT_FALSE(is_valid_utf8("abcdefghij\xE4\xBD"));
}

TEST(Unicode, ComposesAndDecomposes) {
  EXPECT_EQ(nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(nfc("\u0301"), "\u0301");
  EXPECT_EQ(nfc("a\u0315\u0300\u05AE\u0300b"), "\u00E0\u05AE\u0300\u0315b") << "ordered, then the first composes";
  EXPECT_EQ(nfc("\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(nfc("\uAC00\u11A8"), "\uAC01");
  EXPECT_EQ(nfc("\u212B \u2126 \u0958"), "\u00C5 \u03A9 \u0915\u093C") << "singletons and exclusions";
  EXPECT_EQ(nfc("e\u0323\u0301"), nfc("e\u0301\u0323"));
  EXPECT_EQ(nfc("\u09C7\u09BE\u0300"), "\u09CB\u0300");
  EXPECT_EQ(nfd("\u00E9\uAC01\u1E69"), "e\u0301\u1100\u1161\u11A8s\u0323\u0307");
  const std::string plain = "plain \u00E9 \u4F60 text";
  std::string buffer;
  EXPECT_EQ(to_nfc(plain, buffer).data(), plain.data()) << "nothing is copied where nothing changes";
}

TEST(Unicode, NormalizationIsIdempotent) {
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "a";
    append_utf8(text, c);
    text += "\u0323\u0301";
    ASSERT_EQ(nfc(nfc(text)), nfc(text)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(nfd(nfc(text)), nfd(text)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(nfc(nfd(text)), nfc(text)) << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Unicode, LowerCase) {
  std::string buffer;
  EXPECT_EQ(to_lower("ABC \u00C9\u0130\u03A3 1", buffer), "abc \u00E9i\u0307\u03C3 1");
}

}  // namespace
}  // namespace carronade
