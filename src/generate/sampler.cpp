#include "sampler.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace rqat::generate {

namespace {

constexpr int64_t kBlock = 256;  // tokens whose masses are added up together
constexpr int64_t kLanes = 16;   // independent sums, so that the compiler can use vectors

double block_sum(const float* values, int64_t size) {
  std::array<float, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[static_cast<size_t>(lane)] += values[i + lane];
  }
  double sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < size; ++i) sum += values[i];
  return sum;
}

float row_max(const float* values, int64_t size) {
  std::array<float, kLanes> lanes;
  lanes.fill(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      float& largest = lanes[static_cast<size_t>(lane)];
      largest = values[i + lane] > largest ? values[i + lane] : largest;
    }
  }
  for (; i < size; ++i) lanes[0] = std::max(lanes[0], values[i]);
  return *std::max_element(lanes.begin(), lanes.end());
}

int64_t last_positive(const float* probabilities, int64_t size) {
  int64_t i = size - 1;
  while (i > 0 && probabilities[i] <= 0) --i;
  return i;
}

/// The token in which `uniform` of the row's whole mass falls, in the order of ids.
int64_t draw_plain(const float* probabilities, int64_t size, double uniform) {
  static thread_local std::vector<double> blocks;
  blocks.clear();
  double total = 0;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    blocks.push_back(block_sum(probabilities + begin, std::min(kBlock, size - begin)));
    total += blocks.back();
  }
  double rest = uniform * total;
  size_t block = 0;
  while (block + 1 < blocks.size() && rest >= blocks[block]) rest -= blocks[block++];
  const int64_t begin = static_cast<int64_t>(block) * kBlock, end = std::min(begin + kBlock, size);
  for (int64_t id = begin; id < end; ++id) {
    rest -= probabilities[id];
    if (rest < 0) return id;
  }
  return last_positive(probabilities, end);  // rounding left a crumb of mass behind the block
}

using Candidate = std::pair<float, int64_t>;

/// The order in which tokens are kept: the more probable first, of equal ones the lower id.
bool before(const Candidate& a, const Candidate& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

/// The `count` first tokens, in order.
void collect_top(const float* probabilities, int64_t size, size_t count, std::vector<Candidate>& candidates) {
  candidates.clear();
  for (int64_t id = 0; id < size; ++id) {
    if (candidates.size() == count) {
      // Front of the heap = last in order; an equal token with a higher id does not replace it.
      if (probabilities[id] <= candidates.front().first) continue;
      std::pop_heap(candidates.begin(), candidates.end(), before);
      candidates.pop_back();
    }
    candidates.emplace_back(probabilities[id], id);
    std::push_heap(candidates.begin(), candidates.end(), before);
  }
  std::sort_heap(candidates.begin(), candidates.end(), before);
}

/// In order, as many of the first tokens as hold `mass`, and maybe more.
void collect_mass(const float* probabilities, int64_t size, double mass, std::vector<Candidate>& candidates) {
  float floor = row_max(probabilities, size) * 1e-2f;
  for (;;) {
    candidates.clear();
    double found = 0;
    for (int64_t id = 0; id < size; ++id) {
      if (probabilities[id] < floor) continue;
      candidates.emplace_back(probabilities[id], id);
      found += probabilities[id];
    }
    if (found >= mass || floor == 0) break;
    floor = floor > 1e-12f ? floor * 1e-2f : 0.0f;
  }
  std::sort(candidates.begin(), candidates.end(), before);
}

int64_t draw_filtered(const float* probabilities, int64_t size, double uniform, const SamplingConfig& sampling) {
  static thread_local std::vector<Candidate> candidates;
  double total = 0;
  if (sampling.top_k > 0 && sampling.top_k < size) {
    collect_top(probabilities, size, static_cast<size_t>(sampling.top_k), candidates);
    for (const Candidate& candidate : candidates) total += candidate.first;
  } else {
    total = block_sum(probabilities, size);
    collect_mass(probabilities, size, sampling.top_p * total, candidates);
  }
  double kept_mass = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sampling.top_p >= 1 || kept_mass < sampling.top_p * total)) {
    kept_mass += candidates[kept++].first;
  }
  double rest = uniform * kept_mass;
  for (size_t i = 0; i < kept; ++i) {
    rest -= candidates[i].first;
    if (rest < 0) return candidates[i].second;
  }
  return candidates[0].second;
}

}  // namespace

std::vector<Draw> draw_tokens(at::Tensor logits, const std::vector<int64_t>& rows, const std::vector<double>& uniforms,
                              const SamplingConfig& sampling) {
  const bool greedy = sampling.temperature == 0, filtered = sampling.top_p < 1 || sampling.top_k > 0;
  if (!greedy && sampling.temperature != 1) logits.div_(sampling.temperature);
  const at::Tensor probabilities = logits.softmax(-1).cpu();
  if (greedy) logits = logits.cpu();
  const int64_t size = logits.size(1);
  std::vector<Draw> draws(rows.size());
  at::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto index = static_cast<size_t>(i);
      const float* row = probabilities.const_data_ptr<float>() + rows[index] * size;
      if (!std::isfinite(row[0])) continue;  // softmax spreads one bad logit over its row
      int64_t id = 0;
      if (greedy) {
        const float* row_logits = logits.const_data_ptr<float>() + rows[index] * size;
        id = std::find(row_logits, row_logits + size, row_max(row_logits, size)) - row_logits;
      } else if (filtered) {
        id = draw_filtered(row, size, uniforms[index], sampling);
      } else {
        id = draw_plain(row, size, uniforms[index]);
      }
      draws[index] = {id, std::log(row[id])};
    }
  });
  return draws;
}

}  // namespace rqat::generate
