// Responses of a model: the first line against the rest.
#include "fuzz/fuzz_input.h"
#include "rqat/answer/answer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  const std::string_view content = fuzz::text_of(data, size);
  const std::string_view first = content.substr(0, content.find('\n'));
  const std::string_view rest = content.substr(std::min(first.size() + 1, content.size()));
  answer::last_number(rest);
  answer::ends_inside_answer(rest);
  const std::string found = answer::extract(rest).value_or(std::string(rest));
  if (answer::equal(first, found) != answer::equal(found, first)) fuzz::broken("equality has no order");
  if (!answer::equal(found, found)) fuzz::broken("an answer equals itself");
  return 0;
}
