// Records one after the other, without holding all of them.
#pragma once

#include <cstdint>
#include <memory>

#include "rqat/data/dataset.h"

namespace rqat::data {

/// The same records in the same order each time it is gone through.
class RecordStream {
 public:
  virtual ~RecordStream() = default;
  /// The next record; false at the end. Throws DataError (file and record), IoError.
  virtual bool next(Record& record) = 0;
  /// Passes over one record, without looking into it where that is possible; false at the end.
  virtual bool skip() = 0;
  /// Back to the first record.
  virtual void rewind() = 0;
};

/// The records of a data entry: drawn from generators; of a file or of all files that its pattern names, in order; or
/// of a mixture. Of a mixture the part that lags farthest behind its share of the weights is next; the end comes where
/// a part has no more, or after num_examples records, and then parts that have run out begin anew. Throws ConfigError,
/// IoError (no such file).
std::unique_ptr<RecordStream> open_records(const DataConfig& config, int64_t seed);

/// Whether this build reads Parquet files, and by what.
std::string parquet_text();

}  // namespace rqat::data
