// Talk between the ranks of a job: c10d's process groups (Gloo on CPU tensors, NCCL on CUDA tensors), with faults told
// by rank, host and cause. A world of one costs nothing: every operation returns at once, no store is opened.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rqat/dist/world.h"

namespace rqat::dist {

struct ConnectOptions {
  std::string version;                    ///< must be equal on all ranks
  at::Device device = at::kCPU;           ///< where this rank computes; NCCL joins in for CUDA
  double connect_timeout_seconds = 300;   ///< for all ranks to come
  double collective_timeout_seconds = 0;  ///< longest wait in a collective; 0 = RQAT_DIST_TIMEOUT, else 1800
  double heartbeat_timeout_seconds = 0;   ///< a silent rank is dead after it; 0 = RQAT_HEARTBEAT_TIMEOUT, else 20
  double stall_timeout_seconds = 0;  ///< one that computes to no end hangs after it; 0 = RQAT_STALL_TIMEOUT, else 20
};

/// A collective under way. Wait before the tensor is read, on every path.
class Pending {
 public:
  Pending();
  ~Pending();
  Pending(Pending&&) noexcept;
  Pending& operator=(Pending&&) noexcept;
  /// Throws IoError that names the rank that was lost, its host and the cause.
  void wait();

 private:
  friend class Communicator;
  struct State;
  std::unique_ptr<State> state_;
};

/// Collectives are called by all ranks in the same order, from one thread. All throw IoError when a rank is lost.
class Communicator {
 public:
  /// A world of one.
  Communicator();
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return world_.rank; }
  int size() const { return world_.size; }
  bool is_main() const { return world_.rank == 0; }
  bool alone() const { return world_.size == 1; }
  const World& world() const { return world_; }
  /// "rank 2 of 4 on host-b"
  std::string who() const;

  /// tensor <- sum over ranks, in place. The sum is the same on every rank, bit for bit.
  void all_reduce(const at::Tensor& tensor);
  Pending start_all_reduce(const at::Tensor& tensor);
  /// tensor <- that of rank `root`.
  void broadcast(const at::Tensor& tensor, int root = 0);
  Pending start_broadcast(const at::Tensor& tensor, int root = 0);
  /// The tensors of all ranks, by rank; of equal shape and dtype.
  std::vector<at::Tensor> all_gather(const at::Tensor& tensor);
  /// Returns when all ranks have come; `where` is for messages.
  void barrier(const std::string& where);

  std::string broadcast_text(const std::string& text, int root = 0);
  std::vector<std::string> all_gather_text(const std::string& text);
  /// Sum of each named number over the ranks that have it; added in rank order in fp64.
  std::map<std::string, double> sum(const std::map<std::string, double>& values);
  double max(double value);
  /// Whether the condition holds on any rank.
  bool any(bool condition) { return max(condition ? 1 : 0) > 0; }

  /// Tells the other ranks why this one ends; they end too, with this cause. Of several the first counts.
  void report_fault(const std::string& cause) noexcept;
  /// Leaves the job in good order: all ranks wait for each other.
  void finish();

  /// Work of `count` items that falls to this rank: [first, second), contiguous, sizes differ by at most one.
  std::pair<int64_t, int64_t> share(int64_t count) const { return share_of(count, rank(), size()); }
  static std::pair<int64_t, int64_t> share_of(int64_t count, int rank, int size);
  /// The same for items of different weight (tokens of a sequence): contiguous, sums of weights about equal.
  std::pair<int64_t, int64_t> share_by_weight(const std::vector<int64_t>& weights) const {
    return share_by_weight(weights, rank(), size());
  }
  static std::pair<int64_t, int64_t> share_by_weight(const std::vector<int64_t>& weights, int rank, int size);

 private:
  friend std::unique_ptr<Communicator> connect(const World& world, const ConnectOptions& options);
  struct Job;
  friend class Pending;
  World world_;
  std::unique_ptr<Job> job_;
};

/// Joins the job that `world` names: opens or finds the store, compares versions and world sizes, makes the process
/// groups, starts the heartbeat. Throws ConfigError (built without Gloo; ranks differ in version or world size; a rank
/// number taken twice) and IoError (port in use, master not reached, ranks missing: each names host and port).
std::unique_ptr<Communicator> connect(const World& world, const ConnectOptions& options);

/// A world of one, shared by whoever needs no more.
Communicator& solo();

/// Whether this build has Gloo (more than one process on CPU) and NCCL; for `rqat env`.
std::string backends_text();

}  // namespace rqat::dist
