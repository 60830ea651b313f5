// A JSONL file of examples.
#include "fuzz/fuzz_input.h"
#include "rqat/data/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat;
  using namespace rqat::fuzz;
  const InputFile file(text_of(data, size));
  accepted([&] {
    data::DataConfig config;
    config.file = file.path().string();
    for (const data::Record& record : data::load_records(config, 0)) data::check_response(record, record.response);
  });
  return 0;
}
