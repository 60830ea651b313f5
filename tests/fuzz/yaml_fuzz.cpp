// A recipe's YAML: what parses is written as YAML that parses to the same, and merges.
#include "fuzz/fuzz_input.h"
#include "rqat/base/node.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rqat::base;
  using namespace rqat::fuzz;
  Node node;
  if (!accepted([&] { node = Node::parse(text_of(data, size), "recipe.yaml"); })) return 0;
  const std::string once = node.dump();
  Node again;
  if (!accepted([&] { again = Node::parse(once, "written.yaml"); })) broken("what was written parses: " + once);
  if (again.dump() != once) broken("what was written parses to the same: " + once);
  again.merge(node);
  return 0;
}
