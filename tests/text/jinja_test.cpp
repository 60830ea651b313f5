#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "rqat/base/error.h"
#include "rqat/base/files.h"
#include "rqat/base/strings.h"
#include "text/jinja/template.h"

namespace rqat::text::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value to_value(const Json& json) {
  if (json.is_null()) return Value(None{});
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) return Value(json.get<std::string>());
  if (json.is_array()) {
    List list;
    for (const Json& item : json) list.push_back(to_value(item));
    return Value(std::move(list));
  }
  Map map;
  for (const auto& [key, item] : json.items()) map.set(key, to_value(item));
  return Value(std::move(map));
}

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return Template(source, "test.jinja").render(to_value(variables).map()).text;
}

struct Case {
  const char *source, *expected;
};

// Expected values: jinja2 3.1 with trim_blocks and lstrip_blocks.
TEST(Jinja, Expressions) {
  const Json variables = {{"a", 7}, {"s", "h\u00e9llo"}, {"l", {1, 2, 3}}, {"d", {{"k", "v"}, {"n", nullptr}}}};
  for (const auto& [source, expected] : {
           Case{"{{ 1 + 2 * 3 - a // 2 }}", "4"},
           Case{"{{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 1.5 * 2 }}", "3.5 -4 2 3.0"},
           Case{"{{ 'a' ~ 1 ~ none }}", "a1None"},
           Case{"{{ 'x' + 'y' }}{{ [1] + [2] }}", "xy[1, 2]"},
           Case{"{{ a > 3 and a <= 7 or missing }}", "True"},
           Case{"{{ not a == 7 }} {{ 2 in l }} {{ 9 not in l }} {{ 'k' in d }} {{ 'l' in s }}",
                "False True True True True"},
           Case{"{{ 'y' if a else 'n' }}{{ 'y' if missing }}", "y"},
           Case{"{{ l[0] }}{{ l[-1] }}{{ l[1:] }}{{ l[::-1] }}{{ l[:-1] }}", "13[2, 3][3, 2, 1][1, 2]"},
           Case{"{{ s[1] }}{{ s[-2:] }}{{ s | length }}", "\xC3\xA9lo5"},
           Case{"{{ d.k }}{{ d['k'] }}{{ d.get('x', 'z') }}{{ d.get('x') }}", "vvzNone"},
           Case{"{{ d.n is none }} {{ d.q is defined }} {{ s is string }} {{ l is not mapping }}",
                "True False True True"},
           Case{"{{ 4 is divisibleby 2 }} {{ 3 is even }} {{ 3 is odd }}", "True False True"},
           Case{"{{ (1, 'b', [true, none]) }}", "(1, 'b', [True, None])"},
           Case{"{{ 'it\\'s' }}{{ \"\\u00e9\\n\" }}", "it's\xC3\xA9\n"},
           Case{"{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a\n'.rstrip('\n') }}", "x|a|a"},
           Case{"{{ 'a,b,c'.split(',')[-1] }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}",
                "c['a', 'b']['a', 'b,c']"},
           Case{"{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('x') }}{{ 'aXa'.replace('a', 'b') }}", "TrueFalsebXb"},
           Case{"{{ ' t ' | trim }}{{ 'aB' | upper }}{{ 'aB' | lower }}{{ 'aB c' | capitalize }}{{ 'ab cd' | title }}",
                "tABabAb cAb Cd"},
           Case{"{{ l | join('-') }}{{ l | first }}{{ l | last }}{{ missing | default('d') }}{{ '' | default('e', "
                "true) }}",
                "1-2-313de"},
           Case{"{{ d | tojson }}{{ s | tojson }}", "{\"k\": \"v\", \"n\": null}\"h\xC3\xA9llo\""},
           Case{"{{ {'a': [1, {}]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"},
           Case{"{{ '12' | int + 1 }}{{ 'x' | int }}{{ 5 | string + '!' }}", "1305!"},
           Case{"{{ l | map('string') | join }}{{ l | select('odd') | list }}{{ l | reverse | list }}",
                "123[1, 3][3, 2, 1]"},
           Case{"{{ [{'x': 1}, {'x': 2}] | selectattr('x', 'equalto', 2) | list }}", "[{'x': 2}]"},
           Case{"{{ range(3) | list }}{{ range(4, 0, -2) | list }}", "[0, 1, 2][4, 2]"},
           Case{"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "k=v;n=None;"},
           Case{"{{ -a + 1 }}{{ - a | string }}", "-6-7"},
       }) {
    EXPECT_EQ(render(source, variables), expected) << source;
  }
}

TEST(Jinja, Statements) {
  const Json variables = {{"l", {1, 2, 3}}};
  for (const auto& [source, expected] : {
           Case{"{% if l %}a{% elif x %}b{% else %}c{% endif %}", "a"},
           Case{"{% if x %}a{% elif l %}b{% else %}c{% endif %}", "b"},
           Case{"{% if x %}a{% elif y %}b{% else %}c{% endif %}", "c"},
           Case{"{% for i in l %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
                "1TrueFalse3;2FalseFalse3;3FalseTrue3;"},
           Case{"{% for i in [] %}x{% else %}none{% endfor %}", "none"},
           Case{"{% for i in l if i > 1 %}{{ i }}{{ loop.index0 }}{% endfor %}", "2031"},
           Case{"{% for i in l %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"},
           Case{"{% for i in l %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"},
           Case{"{% for i in l %}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}", "2;13;2;"},
           Case{"{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "1"},
           Case{"{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = i %}{% endfor %}{{ ns.x }}", "3"},
           Case{"{% set a, b = [1, 2] %}{{ b }}{{ a }}", "21"},
           Case{"{% set t %}a{{ l[0] }}{% endset %}{{ t | upper }}", "A1"},
           Case{"{% filter upper %}ab{% endfilter %}", "AB"},
           Case{"{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(2, b=3) }}", "[1z][23]"},
           Case{"{% for i in [1, [2, [3]]] recursive %}{{ loop.depth }}{{ loop(i) if i is iterable else i }};{% endfor "
                "%}",
                "11;122;233;;;"},
           Case{"{% set o = [1] | map('string') %}{{ o | list }}{{ o | list }}", "['1'][]"},
           Case{"{{ '<' | safe + '<' }}", "<&lt;"},
           Case{"{% generation %}x{% endgeneration %}", "x"},
           Case{"a{# note #}b", "ab"},
           Case{"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
           Case{"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3"},
           Case{"{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% set o = 7 %}{% call(y) m(3) %}{{ y }}{{ o }}{% "
                "endcall %}",
                "<37>"},
           Case{"{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'b': 4, 'a': 3}) }}", "1234"},
           Case{"{% if false %}{{ 1 | nosuch }}{% endif %}ok", "ok"},
           Case{"{{ {'items': 1}.items is mapping }}{{ {'items': 1}['items'] }}", "False1"},
           Case{"{{ 1 < 2 < 3 }}{{ 2 ** 3 }}{{ {1: 'a'}[1] }}{{ [3, 1] | sort }}{{ 'x' * 3 }}", "True8a[1, 3]xxx"},
           Case{"{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}{{ strftime_now is defined }}", "abaTrue"},
       }) {
    EXPECT_EQ(render(source, variables), expected) << source;
  }
}

TEST(Jinja, RecursiveLoopsStopAndStayInTheirBody) {
  const auto fault = [](const std::string& source) -> std::string {
    try {
      render(source, {{"l", {1, 2}}});
    } catch (const base::DataError& error) {
      return error.what();
    }
    return "none";
  };
  const auto expect_fault = [&](const std::string& source, const std::string& what) {
    EXPECT_NE(fault(source).find(what), std::string::npos) << source << ": " << fault(source);
  };
  expect_fault("{% for i in l recursive %}{{ loop(l) }}{% endfor %}", "a recursive loop calls itself too deeply");
  expect_fault("{% for i in l recursive %}{{ loop() }}{% endfor %}", "a recursive loop takes one value");
  expect_fault("{% for i in l %}{{ loop(l) }}{% endfor %}", "a value of type namespace cannot be called");
  const std::string outside = "a recursive loop is called outside of its body";
  expect_fault("{% set ns = namespace() %}{% for i in l recursive %}{% set ns.f = loop %}{% endfor %}{{ ns.f(l) }}",
               outside);
  expect_fault("{% macro m(f) %}{{ f([]) }}{% endmacro %}{% for i in l recursive %}{{ m(loop) }}{% endfor %}", outside);
}

TEST(Jinja, WhiteSpaceRules) {
  EXPECT_EQ(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(render("a  {%- if true -%}  b  {%- endif %}  c"), "ab  c");
  EXPECT_EQ(render("a \n {{- 'b' -}} \n c"), "abc");
  EXPECT_EQ(render("  {%+ if true %}x{% endif %}"), "  x");
  EXPECT_EQ(render("x {{ 1 }}\ny"), "x 1\ny");
  EXPECT_EQ(render("a\n{# note #}\nb"), "a\nb");
}

TEST(Jinja, MacrosDoNotSeeTheirCallersNames) {
  EXPECT_EQ(render("{% set g = 1 %}{% macro m() %}{{ g }}{{ i }}{% endmacro %}{% for i in [5] %}{{ m() }}{% endfor %}"),
            "1");
}

TEST(Jinja, UnsupportedSyntaxIsAnIoErrorWithItsLine) {
  for (const char* source : {"\n{% include 'x' %}",
                             "\n{{ x | nosuch }}",
                             "\n{{ x is nosuch }}",
                             "\n{{ x",
                             "\n{% if x %}",
                             "\n{% for %}",
                             "\n{{ 'x }}",
                             "\n{# x",
                             "\n{{ ? }}",
                             "\n{{ x ** }}",
                             "\n{{ (x }}",
                             "\n{% endif %}",
                             "\n{% for a in b recursive if c %}{% endfor %}",
                             "\n{% set x %}",
                             "\n{% macro m( %}",
                             "\n{{ '\\uZZZZ' }}",
                             "\n{{ 99999999999999999999 }}",
                             "\n{{ x.99999999999999999999 }}",
                             "\n{{ '\\ud800' }}",
                             "\n{{ '\\U00110000' }}",
                             "\n{{ '\\UFFFFFFFF' }}"}) {
    try {
      Template(source, "test.jinja");
      FAIL() << source;
    } catch (const base::IoError& error) {
      EXPECT_NE(std::string(error.what()).find("test.jinja:2"), std::string::npos) << source << ": " << error.what();
    }
  }
  EXPECT_THROW(Template("{{ " + std::string(5000, '(') + "1", "t"), base::IoError);
  EXPECT_THROW(Template("{{ " + std::string(5000, '-') + "1", "t"), base::IoError);
  std::string chain = "{{ a", sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) {
    chain += ".b";
    sum += "+1";
  }
  EXPECT_THROW(Template(chain + " }}", "t"), base::IoError);
  EXPECT_THROW(Template(sum + " }}", "t"), base::IoError);
}

TEST(Jinja, FailuresAtRunTimeAreDataErrors) {
  for (const char* source : {"{{ raise_exception('no') }}",
                             "{{ x.y }}",
                             "{{ 1 + 'a' }}",
                             "{{ nosuch() }}",
                             "{{ 1 / 0 }}",
                             "{{ 'a'.nosuch() }}",
                             "{{ {}.nosuch() }}",
                             "{{ 5 | length }}",
                             "{% for i in 5 %}{% endfor %}",
                             "{% set a, b = [1] %}",
                             "{% set x = 1 %}{% set x.y = 2 %}",
                             "{{ range(1000000) }}",
                             "{{ range('a') }}",
                             "{{ range() }}",
                             "{{ range(1, 2, 0) }}",
                             "{{ x + 1 }}",
                             "{{ -'a' }}",
                             "{{ [1][::0] }}",
                             "{{ x | tojson }}",
                             "{{ 'a'.split('') }}",
                             "{{ [1] | map('nosuch') }}",
                             "{{ [1] | select('nosuch') }}",
                             "{{ (1)(2) }}",
                             "{{ x.y() }}",
                             "{{ 1.items() }}",
                             "{{ 9007199254740993 * 9007199254740993 }}",
                             "{{ 'a' - 'b' }}",
                             "{{ 1 | items }}",
                             "{{ 99999999999999999999.5 | int }}",
                             "{{ 1[0:1] }}",
                             "{{ [1]['a':] }}"}) {
    EXPECT_THROW(render(source), base::DataError) << source;
  }
}

TEST(Jinja, ValuesNeitherNestWithoutBoundNorPrintThemselves) {
  for (const char* item : {"[ns.x]", "{'a': ns.x}", "dict(a=ns.x)"}) {
    EXPECT_THROW(render(base::cat("{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = ", item,
                                  " %}{% endfor %}")),
                 base::DataError)
        << item;
  }
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}{{ ns == ns }}{{ ns.a }}"),
            "<namespace>True[<namespace>]");
}

TEST(Jinja, RunawayTemplatesStop) {
  const std::string loops =
      "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor "
      "%}";
  EXPECT_THROW(render(loops + loops), base::DataError);
  EXPECT_THROW(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), base::DataError);
  EXPECT_THROW(render("{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(30) %}{% set ns.s = ns.s + ns.s %}{{ "
                      "ns.s }}{% endfor %}"),
               base::DataError);
  EXPECT_THROW(
      render("{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(30) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"),
      base::DataError);
  EXPECT_THROW(
      render("{% set ns = namespace(s=[1]) %}{% for i in range(30) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"),
      base::DataError);
}

std::string fault_of(const std::string& source, const Json& variables = Json::object()) {
  try {
    render(source, variables);
    return "rendered";
  } catch (const base::DataError& error) {
    return error.what();
  }
}

struct Hostile {
  const char *source, *message;
};

TEST(Jinja, SmallTemplatesTakeLittleTimeAndMemory) {
  const std::string doubling = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ";
  for (const auto& [source, message] : {
           Hostile{"[ns.x, ns.x] %}{% endfor %}{{ ns.x }}", "too much time or memory"},
           Hostile{"{'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}", "more than 16"},
           Hostile{"[ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}", "too much time or memory"},
           Hostile{"[ns.x, ns.x] %}{% endfor %}{{ ns.x < ns.x }}", "too much time or memory"},
       }) {
    EXPECT_NE(fault_of(doubling + source).find(message), std::string::npos) << source << fault_of(doubling + source);
  }
  for (const auto& [source, message] : {
           Hostile{"{{ (['a' * 16000000] * 90000) | join }}", "more than 16"},
           Hostile{"{% set s = 'a' * 16000000 %}{{ s | replace('a', s) }}", "more than 16"},
           Hostile{"{% set s = 'a' * 1000 %}{{ s | replace('', s) | replace('', s) }}", "more than 16"},
           Hostile{"{{ 'a'.center(90000, 'b' * 16000000) }}", "more than 16"},
           Hostile{"{{ ('\n' * 90000) | indent('b' * 16000000, blank=true) }}", "more than 16"},
           Hostile{"{{ '%s%s' % ('a' * 16000000, 'b' * 16000000) }}", "more than 16"},
           Hostile{
               "{% set s = 'a' * 16000000 %}{% for i in range(90000) %}{% if s.upper() == s %}{% endif %}{% endfor %}",
               "too much time or memory"},
           Hostile{"{% set s = 'a' * 16000000 %}{% for i in range(90000) %}{% if 'b' in s %}{% endif %}{% endfor %}",
                   "too much time or memory"},
           Hostile{"{{ range(90000) | unique | length }}", "too much time or memory"},
           Hostile{"{{ 'a' | map(*(['map'] * 90000)) }}", "too much time or memory"},
           Hostile{"{{ 'a' | map(*(['map'] * 2000)) }}", "inside each other"},
           Hostile{
               "{% macro m(n) %}{% if n > 0 %}{% call m(n - 1) %}{{ caller() }}{{ caller() }}{% endcall %}{% else %}{{ "
               "caller() }}{% endif %}{% endmacro %}{% call m(40) %}x{% endcall %}",
               ""},
           Hostile{
               "{% macro m(n) %}{{ 1 + (1 + (1 + (1 + (1 + (1 + (1 + (1 + (m(n + 1))))))))) }}{% endmacro %}{{ m(0) }}",
               ""},
       }) {
    const std::string fault = fault_of(source);
    EXPECT_NE(fault, "rendered") << source;
    EXPECT_NE(fault.find(message), std::string::npos) << source << ": " << fault;
  }
}

TEST(Jinja, SearchIsLinear) {
  // A naive search compares most of the pattern at every place.
  EXPECT_EQ(
      render("{% set text = 'a' * 4000000 %}{% set part = 'a' * 2000000 ~ 'b' %}{{ part in text }}{{ text.count(part) "
             "}}{{ text.rfind('b' ~ 'a' * 2000000) }}{{ text.split(part) | length }}"),
      "False0-11");
  EXPECT_EQ(
      render("{{ 'abcabc'.rfind('bc') }}{{ 'abcabc'.rfind('x') }}{{ 'abcabc'.rfind('') }}{{ 'abc'.rpartition('b') }}"),
      "4-16('a', 'b', 'c')");
  EXPECT_EQ(render("{{ 'a--b--c'.rsplit('--', 1) }}{{ 'aaa'.rsplit('aa', 5) }}{{ '--a'.rsplit('--', 1) }}"),
            "['a--b', 'c']['a', '']['', 'a']");
}

TEST(Jinja, ChainsOfValuesAreDestroyed) {
  for (const char* link : {"{% set h.n = h.n | batch(1) %}", "{% set h.n = namespace(next=h.n) %}"}) {
    EXPECT_NE(fault_of(base::cat("{% set h = namespace(n=[1]) %}{% for i in range(90000) %}", link, "{% endfor %}"))
                  .find("nested more than 500 deep"),
              std::string::npos)
        << link;
  }
  EXPECT_EQ(
      render("{% set h = namespace(n=none) %}{% for i in range(90000) %}{% set n = namespace() %}{% set n.next = h.n "
             "%}{% set h.n = n %}{% endfor %}{{ h.n.next }}"),
      "<namespace>");
}

TEST(Jinja, ExpressionsOfAnyShapeAreBounded) {
  std::string tower = "1";  // each level hangs at the far end of a chain
  for (int i = 0; i < 10; ++i) {
    tower = "(1 + (" + tower + ")";
    for (int j = 0; j < 100; ++j) tower += "+1";
    tower += ")";
  }
  try {
    Template("{{ " + tower + " }}", "t");
    FAIL();
  } catch (const base::IoError& error) {
    EXPECT_NE(std::string(error.what()).find("operators in a row or inside each other"), std::string::npos);
  }
}

TEST(Jinja, NumbersBeyondTheirRange) {
  const Json least = {{"least", std::numeric_limits<int64_t>::min()}, {"large", std::numeric_limits<int64_t>::max()}};
  EXPECT_EQ(render("{{ 1e999 }} {{ -1e999 }} {{ 1e-999 }}"), "inf -inf 0.0");
  for (const char* source : {"{{ -least }}", "{{ least | abs }}", "{{ '%d' % 1e999 }}", "{{ '%d' % 1e300 }}",
                             "{{ [9e15 | int, 1] | sum }}", "{{ [1] | sum(start='a') }}", "{{ '%.999999999f' % 1.5 }}",
                             "{{ '%999f' % 1.5 }}", "{{ '%1.1.1f' % 1.5 }}", "{{ {'index0': 'a'}.cycle(1) }}"}) {
    EXPECT_NE(fault_of(source, least), "rendered") << source;
  }
  EXPECT_EQ(render("{{ 'a'.center(least) }}{{ 'a'.zfill(least) }}{{ 'a'.ljust(-1) }}", least), "aaa");
  EXPECT_NE(fault_of("{{ 'a'.partition('') }}").find("not empty"), std::string::npos);
  EXPECT_EQ(render("{{ least is divisibleby(-1) }}{{ range(1, large, large) }}{{ [1, 2, 3][1::large] }}"
                   "{{ [1, 2, 3][::least] }}",
                   least),
            "True[1][2][3]");
  EXPECT_EQ(render("{{ '%d' % 9007199254740993 }}{{ '%5.2f|%-4d|%+d' % (1.5, 3, 2) }}"),
            "9007199254740993 1.50|3   |+2");
}

// Conversations rendered by huggingface.js's tests, with their expected text.
TEST(Jinja, GoldenConversations) {
  const char* root = std::getenv("RQAT_DATA");
  if (root == nullptr) GTEST_SKIP() << "RQAT_DATA is not set";
  size_t equal = 0;
  std::vector<std::string> others;
  for (const std::string& line :
       base::split(base::read_file(std::filesystem::path(root) / "chat_templates/golden/hfjs_e2e_cases.jsonl"), '\n')) {
    if (line.empty()) continue;
    const Json item = Json::parse(line);
    if (!item["python_jinja2_matches"].get<bool>()) continue;
    std::string got;
    try {
      got = render(item["chat_template"].get<std::string>(), item["data"]);
    } catch (const base::Error& error) {
      got = error.what();
    }
    if (got == item["target"].get<std::string>()) {
      ++equal;
    } else {
      others.push_back(item["name"].get<std::string>());
    }
  }
  EXPECT_EQ(others, std::vector<std::string>());
  EXPECT_EQ(equal, 50u);
}

}  // namespace
}  // namespace rqat::text::jinja
