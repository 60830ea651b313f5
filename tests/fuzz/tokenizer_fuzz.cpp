// tokenizer.json: what it accepts encodes and decodes any text.
#include <nlohmann/json.hpp>

#include "fuzz/fuzz_input.h"
#include "rqat/io/json_file.h"
#include "rqat/text/stream_decoder.h"
#include "text/pipeline_tokenizer.h"
#include "text/readers.h"
#include "text/utf8.h"

namespace rqat::fuzz {
namespace {

constexpr std::string_view kText =
    "Hello, world 12345!\n\n  It's\tna\xC3\xAFve \xE2\x96\x81<s> </s>\r\n\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80\xEF"
    "\xB7\xBA <0x41>";
constexpr size_t kOwnText = 200;  // bytes of the file itself that are encoded too

void try_text(const text::Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int64_t> ids = tokenizer.encode(text, true);
  tokenizer.encode(text, false);
  tokenizer.with_special(ids);
  tokenizer.decode(ids, true);
  const std::string all = tokenizer.decode(ids, false);
  text::StreamDecoder stream(tokenizer);
  std::string streamed;
  for (const int64_t id : ids) streamed += stream.push(id);
  streamed += stream.flush();
  if (tokenizer.decodes_by_token() && streamed != all) broken("a stream of tokens decodes to the text of all");
  if (!text::is_valid_utf8(all)) broken("decoding gives UTF-8");
}

}  // namespace
}  // namespace rqat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  using namespace rqat::fuzz;
  const std::string_view content = text_of(data, size);
  accepted([&] {
    const text::PipelineTokenizer tokenizer(
        text::parse_tokenizer_json(io::parse_json(content, "tokenizer.json"), "tokenizer.json"));
    for (const std::string_view text : {kText, content.substr(0, kOwnText)})
      accepted([&] { try_text(tokenizer, text); });
    for (int64_t id = 0; id < std::min<int64_t>(tokenizer.vocab_size(), 32); ++id)
      accepted([&] { tokenizer.token_bytes(id); });
  });
  return 0;
}
