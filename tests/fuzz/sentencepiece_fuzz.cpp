// tokenizer.model, of sentencepiece or of tiktoken.
#include "fuzz/fuzz_input.h"
#include "text/pipeline_tokenizer.h"
#include "text/readers.h"
#include "text/sentencepiece_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  using namespace rqat::fuzz;
  const InputFile file(text_of(data, size));
  accepted([&] {
    if (text::is_tiktoken_file(file.path())) {
      text::read_tiktoken(file.path());
      return;
    }
    const auto tokenizer = text::load_sentencepiece(file.path(), {});
    tokenizer->decode(tokenizer->encode("Hello, world 12345!\n <s> \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80", true));
  });
  return 0;
}
