#include "hub/names.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "hub/digest.h"

namespace carronade {
namespace {

TEST(EncodeName, IsAlwaysOneHarmlessFileName) {
  EXPECT_EQ(encode_name("smollm2-135m"), "smollm2-135m");
  EXPECT_EQ(encode_name("org/repo:Q4_K_M"), "org--repo%3AQ4_K_M");
  EXPECT_EQ(encode_name(".."), "%2E.");
  EXPECT_EQ(encode_name(""), "%2E");
  EXPECT_EQ(encode_name("a\nb"), "a%0Ab");
  for (const std::string& text : {std::string("../../x"), std::string("/"), std::string(5000, 'a'),
                                  std::string(300, '%'), std::string("\xff\0", 2)}) {
    const std::string name = encode_name(text);
    EXPECT_EQ(name.find('/'), std::string::npos);
    EXPECT_NE(name.front(), '.');
    EXPECT_LE(name.size(), 160u);
  }
}

TEST(EncodeName, LongNamesStayApart) {
  EXPECT_NE(encode_name(std::string(5000, 'a') + "1"), encode_name(std::string(5000, 'a') + "2"));
}

TEST(CheckRelativePath, AllowsNamesAndRefusesWaysOut) {
  for (const char* good : {"a", "a.gguf", "a/b/c.gguf", "...", "a b", "ü", "a..b", "-x", ".hidden"})
    EXPECT_NO_THROW(check_relative_path(good)) << good;
  for (const char* bad :
       {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "./a", "a\\b", "a\nb", "\x7f"}) {
    EXPECT_THROW(check_relative_path(bad), Error) << bad;
  }
  EXPECT_THROW(check_relative_path(std::string_view("a\0b", 3)), Error);
  EXPECT_THROW(check_relative_path(std::string(201, 'a')), Error);
}

TEST(UrlOrigin, ShowsNoSecrets) {
  EXPECT_EQ(url_origin("https://host:8080/a/b?token=1"), "https://host:8080");
  EXPECT_EQ(url_origin("https://user:password@host/a@b"), "https://host");
  EXPECT_EQ(url_origin("http://host"), "http://host");
}

TEST(UrlPath, KeepsSlashesOnly) { EXPECT_EQ(url_path("a b/ü#?%.gguf"), "a%20b/%C3%BC%23%3F%25.gguf"); }

// FIPS 180-2's example, and what `git hash-object` says.
TEST(Digest, KnownValues) {
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Digest blob = Digest::git_blob(6);
  const std::string text = "hello\n";
  blob.update(std::as_bytes(std::span(text)));
  EXPECT_EQ(blob.hex(), "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST(Digest, CanBeReadWhileItGrows) {
  Digest digest = Digest::sha256();
  const std::string text = "ab";
  digest.update(std::as_bytes(std::span(text)));
  EXPECT_EQ(digest.hex(), sha256_of("ab"));
  digest.update(std::as_bytes(std::span(text)));
  EXPECT_EQ(digest.hex(), sha256_of("abab"));
}

}  // namespace
}  // namespace carronade
