#include "cli/conversation.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "chat/testing.h"

namespace carronade {
namespace {

// Answers "echo: …" to every question.
struct Scene {
  std::shared_ptr<ChatModel> model = make_test_model(std::make_shared<ScriptedGenerator>(std::vector<TokenId>{}));
  AnswerPrinter printer{{.terminal = false, .silent = true}};
  std::vector<ChatRequest> asked;
  bool fail = false;
  Conversation conversation{*model, {}, nlohmann::ordered_json::object(), printer, [this](const ChatRequest& request) {
                              if (fail) throw Error(ErrorCode::kUnavailable, "not now");
                              asked.push_back(request);
                              Answer answer;
                              answer.text = "echo: " + request.messages.back().content;
                              answer.thought = "hm";
                              return answer;
                            }};
  std::string take(const std::string& input) {
    testing::internal::CaptureStderr();
    goes_on = conversation.take(input);
    return testing::internal::GetCapturedStderr();
  }
  bool goes_on = true;
};

TEST(Conversation, RemembersWhatWasSaid) {
  Scene scene;
  scene.take("one");
  scene.take("/etc/hosts is a file?");  // a path begins no command
  ASSERT_EQ(scene.asked.size(), 2u);
  const auto& messages = scene.asked[1].messages;
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1].content, "echo: one");
  EXPECT_EQ(messages[1].reasoning, "hm");
  EXPECT_EQ(messages[2].content, "/etc/hosts is a file?");
  scene.take("/clear");
  scene.take("two");
  EXPECT_EQ(scene.asked[2].messages.size(), 1u);
}

TEST(Conversation, AQuestionThatFailedIsNotPartOfIt) {
  Scene scene;
  scene.fail = true;
  EXPECT_NE(scene.take("one").find("not now"), std::string::npos);
  scene.fail = false;
  scene.take("two");
  EXPECT_EQ(scene.asked[0].messages.size(), 1u);
}

TEST(Conversation, TheSystemPromptComesFirstAndStays) {
  Scene scene;
  scene.take("/system Be brief.");
  scene.take("one");
  scene.take("/clear");
  scene.take("/system Be long.");
  scene.take("two");
  ASSERT_EQ(scene.asked[1].messages.size(), 2u);
  EXPECT_EQ(scene.asked[0].messages[0].content, "Be brief.");
  EXPECT_EQ(scene.asked[1].messages[0].role, "system");
  EXPECT_EQ(scene.asked[1].messages[0].content, "Be long.");
  EXPECT_NE(scene.take("/system").find("Be long."), std::string::npos);
}

TEST(Conversation, SettingsAreTheApisAndAreChecked) {
  Scene scene;
  scene.take("/set temperature 0.5");
  scene.take("/set stop END");
  scene.take("/set bad_words [\"no\"]");
  EXPECT_NE(scene.take("/set temprature 1").find("did you mean temperature?"), std::string::npos);
  EXPECT_NE(scene.take("/set temperature hot").find("temperature"), std::string::npos);
  EXPECT_NE(scene.take("/set messages []").find("messages"), std::string::npos);
  scene.take("one");
  EXPECT_EQ(scene.asked[0].sampling.temperature, 0.5f);
  EXPECT_EQ(scene.asked[0].stop, std::vector<std::string>{"END"});
  EXPECT_EQ(scene.asked[0].sampling.bad_words, std::vector<std::string>{"no"});
  scene.take("/set temperature default");
  scene.take("two");
  EXPECT_FALSE(scene.asked[1].sampling.temperature);
  EXPECT_NE(scene.take("/set").find("bad_words"), std::string::npos);
  scene.take("/set thinking show");
  EXPECT_EQ(scene.printer.thought_view(), ThoughtView::kShow);
}

TEST(Conversation, AnUnknownCommandNamesTheNearest) {
  Scene scene;
  EXPECT_NE(scene.take("/claer").find("did you mean /clear?"), std::string::npos);
  EXPECT_NE(scene.take("/help").find("/save"), std::string::npos);
  EXPECT_TRUE(scene.asked.empty() && scene.goes_on);
  for (const char* end : {"/bye", "/exit", "/quit"}) {
    Scene another;
    another.take(end);
    EXPECT_FALSE(another.goes_on) << end;
  }
}

TEST(Conversation, IsReadBackAsItWasWritten) {
  const std::vector<ChatMessage> messages = {{"system", "Be \"brief\".", std::nullopt, ""},
                                             {"user", "zwei\nZeilen – 中文", std::nullopt, ""},
                                             {"assistant", "ja", "hm", ""}};
  const auto read = conversation_from_text(conversation_to_text("m", messages));
  ASSERT_EQ(read.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(read[i].role, messages[i].role);
    EXPECT_EQ(read[i].content, messages[i].content);
    EXPECT_EQ(read[i].reasoning, messages[i].reasoning);
  }
  for (const char* damaged : {"", "[]", "{}", R"({"messages":[5]})", R"({"messages":[{"role":"user"}]})",
                              R"({"messages":[{"role":"root","content":"x"}]})"}) {
    EXPECT_THROW(conversation_from_text(damaged), Error) << damaged;
  }
}

}  // namespace
}  // namespace carronade
