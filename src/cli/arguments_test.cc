#include "cli/arguments.h"

#include <gtest/gtest.h>

namespace carronade {
namespace {

using Words = std::vector<std::string>;

TEST(Arguments, HyphensAndUnderscoresAreOne) {
  EXPECT_EQ(normalize_arguments({"serve", "--max_model_len", "5", "--served_model-name=a_b"}),
            (Words{"serve", "--max-model-len", "5", "--served-model-name=a_b"}));
}

TEST(Arguments, AFlagAndItsValueMayBeOneArgument) {
  EXPECT_EQ(normalize_arguments({"--model deepseek-ai/x_y", "--json  {\"a b\": 1}", "--flag "}),
            (Words{"--model", "deepseek-ai/x_y", "--json", "{\"a b\": 1}", "--flag"}));
}

TEST(Arguments, AbbreviationsOfSeveralLettersAreSpelledOut) {
  EXPECT_EQ(normalize_arguments({"serve", "-tp", "1", "-pp=2", "-t"}),
            (Words{"serve", "--tensor-parallel-size", "1", "--pipeline-parallel-size=2", "-t"}));
}

TEST(Arguments, ValuesStayAsTheyAre) {
  const Words words = {"run", "my_model", "a prompt --with_this", "-m", "x_y", "--name=a b_c", "--", "--as_it is"};
  EXPECT_EQ(normalize_arguments(words), words);
}

TEST(Arguments, TheNearestWordIsFound) {
  EXPECT_EQ(nearest_word("srve", {"run", "serve"}), "serve");
  EXPECT_EQ(nearest_word("--prot", {"--host", "--port"}), "--port");
  EXPECT_EQ(nearest_word("frobnicate", {"run", "serve"}), "");
}

}  // namespace
}  // namespace carronade
