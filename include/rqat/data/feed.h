// Examples in the order of training, endless, with a cursor to go on from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rqat/base/rng.h"
#include "rqat/data/dataset.h"
#include "rqat/data/stream.h"

namespace rqat::data {

struct FedExample {
  std::shared_ptr<const Example> example;
  int64_t record = 0;  ///< from 0
};

class ExampleFeed {
 public:
  virtual ~ExampleFeed() = default;
  virtual FedExample next() = 0;
  /// How many records were drawn so far. A fresh feed of the same data and seed that is set to it goes on with the very
  /// examples that would have come next.
  virtual int64_t cursor() const = 0;
  virtual void set_cursor(int64_t cursor) = 0;
};

/// All examples in memory, which must outlive the feed; reshuffled each epoch.
class MemoryFeed : public ExampleFeed {
 public:
  /// Throws DataError when there is none.
  MemoryFeed(const std::vector<Example>& examples, uint64_t seed);
  FedExample next() override;
  int64_t cursor() const override { return sampler_.cursor(); }
  void set_cursor(int64_t cursor) override { sampler_.set_cursor(cursor); }

 private:
  const std::vector<Example>& examples_;
  Sampler sampler_;
};

/// Reads records as training goes and holds `shuffle_buffer` of them: a random one is drawn, and the next of the stream
/// takes its place. To find a cursor again, the numbers of the records are followed through the same draws, and then
/// the stream is gone through once more for those that are held.
class StreamFeed : public ExampleFeed {
 public:
  /// `config`, `tokenizer` and `chat` must outlive the feed.
  StreamFeed(std::unique_ptr<RecordStream> stream, const DataConfig& config, const text::Tokenizer& tokenizer,
             const text::ChatTemplate& chat, uint64_t seed);
  /// Throws DataError: a faulty or too long record (its file and number), or an epoch without any example.
  FedExample next() override;
  int64_t cursor() const override { return cursor_; }
  void set_cursor(int64_t cursor) override;

 private:
  struct Held {
    int64_t number;  ///< of the record in the stream
    Record record;
  };
  void begin_epoch(int64_t epoch);
  std::optional<Held> draw(bool reading);
  void read_held();
  std::shared_ptr<const Example> encoded(const Held& held);

  std::unique_ptr<RecordStream> stream_;
  const DataConfig& config_;
  const text::Tokenizer& tokenizer_;
  const text::ChatTemplate& chat_;
  uint64_t seed_;
  base::Rng rng_;
  std::vector<Held> held_;
  int64_t read_ = 0;  ///< records of this epoch that left the stream
  bool ended_ = false;
  int64_t epoch_ = 0, cursor_ = 0;
  bool used_any_ = false, dropped_any_ = false;
};

}  // namespace rqat::data
