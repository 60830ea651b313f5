// Error types of rqat. Everything a user can cause is one of these; anything else is a bug.
//
// A message says what is wrong, where (file:line, tensor name, record number), the offending value, what is
// allowed and what to do. `tools/rqat.cpp` holds the only catch: ConfigError and UsageError exit with 2, the
// others with 1.
#pragma once

#include <stdexcept>
#include <string>

namespace rqat::base {

/// Base of all errors a user can cause or mend.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A recipe, an override or a setting is wrong. May carry several faults, one a line.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A command line is wrong (unknown option, missing argument).
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The content of data is wrong: empty set, prompt over the limit, NaN weights, non-finite loss.
class DataError : public Error {
 public:
  using Error::Error;
};

/// A file cannot be read or written, or is corrupt or truncated.
class IoError : public Error {
 public:
  using Error::Error;
};

}  // namespace rqat::base
