// Settings of the search for scales and zero points, shared by the initializers.
#pragma once

#include <string>

#include "rqat/base/fields.h"
#include "rqat/quant/quantizer.h"

namespace rqat::ptq {

struct SearchConfig : base::Config {
  explicit SearchConfig(std::string method = "mse") : search(std::move(method)) {}
  std::string search;
  void fields(base::FieldVisitor& v) override {
    v.choice("search", search, {"minmax", "mse"},
             "range of a group: minmax = all of it, mse = clipped where that lowers sum |w_hat - w|^2.4");
  }
  quant::SearchOptions search_options() const {
    quant::SearchOptions options;
    options.method = search;
    return options;
  }
};

}  // namespace rqat::ptq
