#include "text/chat_template.h"

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace carronade {
namespace {

using Json = nlohmann::ordered_json;

std::string render(std::string_view source, const Json& context = Json::object()) {
  return ChatTemplate(source).render(context);
}

// The message of the error that rendering ends in.
std::string refusal(std::string_view source, const Json& context = Json::object(),
                    ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    const std::string text = render(source, context);
    ADD_FAILURE() << "rendered: " << text.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code, code) << error.what();
    return error.what();
  }
  return {};
}

struct Case {
  const char* source;
  const char* expected;
};

class Renders : public testing::TestWithParam<Case> {};

// Every expectation here was printed by Jinja2 3.1.6 in transformers' environment.
TEST_P(Renders, AsJinja2Does) {
  const Json context = {
      {"s", "Hello"},
      {"l", {3, 1, 2}},
      {"d", {{"b", 1}, {"a", "x"}}},
      {"n", 7},
      {"x", "context"},
      {"messages", {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", nullptr}}}}};
  EXPECT_EQ(render(GetParam().source, context), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    Values, Renders,
    testing::Values(
        Case{"{{ [1, 1.0, 'it\\'s', none, true, {'k': (1,)}] }}", "[1, 1.0, \"it's\", None, True, {'k': (1,)}]"},
        Case{"{{ 7 // -2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }}", "-4 2 3.5 1024 0.5"},
        Case{"{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-7 }} {{ 100.0 }}", "1e+16 0.30000000000000004 1e-07 100.0"},
        Case{"{{ missing }}|{{ missing is defined }}|{{ d.nope|default('D') }}", "|False|D"},
        Case{"{{ 'a' ~ 1 ~ none ~ missing }}", "a1None"}, Case{"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}", "True False"},
        Case{"{{ l[::-1] }} {{ s[1:3] }} {{ s[-1] }} {{ l[9] }}", "[2, 1, 3] el o "},
        Case{"{{ 'x' if n > 5 }}{{ 'y' if n > 9 }}", "x"}, Case{"{{ d.items()|list }}", "[('b', 1), ('a', 'x')]"},
        Case{"{{ 'ΑΣ'.lower() }} {{ 'ß'.upper() }} {{ 'ǆ'.title() }}", "ας SS ǅ"},
        Case{"{{ '%5.1f|%-4s|%r' % (2.25, 'a', 'b') }}", "  2.2|a   |'b'"},
        Case{"{{ '{:>5}|{:,}|{0!r}'.replace('{0!r}', '').format(1, 1234567) }}", "    1|1,234,567|"}));

INSTANTIATE_TEST_SUITE_P(
    Statements, Renders,
    testing::Values(
        Case{"{% for i in l %}{{ loop.index }}{{ ',' if not loop.last }}{% else %}none{% endfor %}", "1,2,3"},
        Case{"{% for i in l if i > 1 %}{{ i }}/{{ loop.length }} {% endfor %}", "3/2 2/2 "},
        Case{"{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"},
        Case{"{% for i in l %}{% break %}{% else %}else{% endfor %}", "else"},
        Case{"{% set ns = namespace(n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"},
        Case{"{% set y = 1 %}{% for i in l %}{% set y = i %}{% endfor %}{{ y }}", "1"},
        Case{"{% macro m(a, b='B') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, c=2) }}",
             "1B(){'c': 2}"},
        Case{"{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(v) m() %}{{ v }}!{% endcall %}", "[1!]"},
        Case{"{% set t | upper %}a{{ n }}{% endset %}{{ t }}{% filter trim %}  x {% endfilter %}", "A7x"},
        Case{"{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "123"},
        Case{"{% generation %}{{ s }}{% endgeneration %}", "Hello"}, Case{"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
        Case{"a\n  {% if true %}\n  b\n  {%- endif %}\n c\n", "a\n  b c"}, Case{"a {#- c -#} b", "ab"}));

// Jinja2 decides what a name means when it compiles: an assignment anywhere in a scope counts in all of it.
INSTANTIATE_TEST_SUITE_P(Scopes, Renders,
                         testing::Values(Case{"{% for i in [1] %}[{{ x }}]{% endfor %}{% set x = 5 %}", "[]"},
                                         Case{"{{ x }}{% set x = 5 %}{{ x }}", "context5"},
                                         Case{"{% set x %}[{{ x }}]{% endset %}{{ x }}", "[]"},
                                         Case{"{% if false %}{% set x = 1 %}{% endif %}{{ x }}", "context"},
                                         Case{"{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "2"}));

INSTANTIATE_TEST_SUITE_P(
    Json, Renders,
    testing::Values(Case{"{{ {'b': 1, 'a': ['é', 1.5, none, true]}|tojson }}",
                         R"({"b": 1, "a": ["é", 1.5, null, true]})"},
                    Case{"{{ {'b': '<\"\\n>'}|tojson(indent=2) }}", "{\n  \"b\": \"<\\\"\\n>\"\n}"},
                    Case{"{{ {'b': 1, 'a': '😀'}|tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}",
                         R"({"a":"\ud83d\ude00","b":1})"}));

TEST(ChatTemplate, RaisesWhatTheTemplateRaises) {
  EXPECT_EQ(refusal("{{ raise_exception('Roles must alternate!') }}"), "Roles must alternate!");
}

TEST(ChatTemplate, TellsWhereASyntaxErrorIs) {
  EXPECT_EQ(refusal("a\n  {{ x | nope }}"), "chat template, line 2, column 10: No filter named 'nope'.");
  EXPECT_EQ(refusal("{% if x %}\n"),
            "chat template, line 1, column 11: Unexpected end of template. Jinja was looking for "
            "the following tags: 'elif' or 'else' or 'endif'. The innermost block that needs to "
            "be closed is 'if'.");
  EXPECT_EQ(refusal("{{ missing.x }}"), "chat template, line 1, column 11: 'missing' is undefined");
}

TEST(ChatTemplate, RefusesWhatTheSandboxForbids) {
  refusal("{{ [].append(1) }}");
  refusal("{{ {}.update(a=1) }}");
  refusal("{{ ''.__class__.__mro__ }}");
  refusal("{% set ns = namespace() %}{% set ns._x = 1 %}");
  refusal("{{ '{0.__class__.__mro__}'.format(1) }}");
  EXPECT_EQ(render("{{ ''.__class__ }}"), "");
}

TEST(ChatTemplate, BoundsWhatATemplateCosts) {
  const char* kHungry[] = {
      "{{ 'a' * 10 ** 9 }}",
      "{{ 'a'.center(10 ** 12) }}",
      "{{ '%*d' % (10 ** 9, 1) }}",
      "{{ '{:1000000000}'.format(1) }}",
      "{{ '%.999999999f' % 1 }}",
      "{{ 'a\nb'|indent(10 ** 9) }}",
      "{{ [[]] * 10 ** 9 }}",
      "{{ {}|tojson(indent=10 ** 12) }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{%endfor%}{%endfor%}{%endfor%}",
      "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
      "{% set ns = namespace(s='aa') %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(l=[]) %}{% for a in range(999) %}{% set ns.l = ns.l + ['a' * 9999999] %}{% endfor %}",
      "{{ 'a'|replace('', 'b' * 9999)|replace('', 'c' * 9999) }}",
  };
  for (const char* source : kHungry) {
    SCOPED_TRACE(source);
    refusal(source, Json::object(), ErrorCode::kTooLarge);
  }
  refusal("{{ range(10 ** 12) }}");
  refusal("{{ 9 ** 9 ** 9 }}");
  refusal("{{ 2 ** 63 }}");
}

TEST(ChatTemplate, BoundsNesting) {
  const auto repeated = [](const std::string& unit, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += unit;
    return result;
  };
  for (const auto& [open, close] : std::vector<std::pair<std::string, std::string>>{
           {"(", ")"}, {"[", "]"}, {"not ", ""}, {"-", ""}, {"1 if 1 else ", ""}}) {
    SCOPED_TRACE(open);
    refusal("{{ " + repeated(open, 100'000) + "1" + repeated(close, 100'000) + " }}", Json::object(),
            ErrorCode::kTooLarge);
  }
  refusal("{{ a" + repeated(".b", 100'000) + " }}", Json::object(), ErrorCode::kTooLarge);
  refusal("{{ 1" + repeated(" + 1", 100'000) + " }}", Json::object(), ErrorCode::kTooLarge);
  refusal(repeated("{% if 1 %}", 100'000) + repeated("{% endif %}", 100'000), Json::object(), ErrorCode::kTooLarge);
  // Values nested far deeper than anything may recurse are built, and freed.
  const std::string deep =
      "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set ns.l = [ns.l] %}{% endfor %}";
  EXPECT_EQ(render(deep + "x"), "x");
  refusal(deep + "{{ ns.l }}");
  refusal(deep + "{{ ns.l == [ns.l] }}");
  refusal(deep + "{{ ns.l|tojson }}", Json::object(), ErrorCode::kTooLarge);
}

TEST(ChatTemplate, FreesValuesThatReferToThemselves) {
  EXPECT_EQ(render("{% set ns = namespace(a=1) %}{% set ns.self_ = ns %}{% macro m() %}{{ ns.a }}{% endmacro %}"
                   "{% set ns.m = m %}{{ ns.m() }}"),
            "1");
}

TEST(ChatTemplate, KeepsItsTime) {
  TemplateLimits limits;
  limits.max_steps = ~size_t{0} >> 1;
  limits.max_time = std::chrono::milliseconds(50);
  const ChatTemplate endless(
      "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = a %}{% endfor %}{% endfor %}");
  EXPECT_THROW(endless.render(Json::object(), limits), Error);
}

TEST(ChatTemplate, RendersOnManyThreads) {
  const ChatTemplate shared("{% for m in messages %}{{ m.role|upper }}: {{ 'é' ~ m.content }};{% endfor %}");
  const Json context = {{"messages", {{{"role", "user"}, {"content", "a"}}, {{"role", "bot"}, {"content", "b"}}}}};
  std::vector<std::thread> threads;
  std::vector<std::string> results(4);
  for (std::string& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) result = shared.render(context);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) EXPECT_EQ(result, "USER: éa;BOT: éb;");
}

TEST(ChatTemplate, RefusesWhatIsNotText) {
  refusal("\xFF");
  refusal("{{ '\\ud800' }}");
  EXPECT_THROW(render("x", Json::array()), Error);
}

}  // namespace
}  // namespace carronade
