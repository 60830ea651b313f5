// The rqat program: everything happens in cli/; the one catch that ends a run stands here.
#include "rqat/cli/program.h"

int main(int argc, char** argv) {
  try {
    return rqat::cli::run_program({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    return rqat::cli::explain_failure(error);
  }
}
