// Rows of the losses. Rows are walked in runs: a run's sums are kept in fp32 lanes, runs are added in fp64.
constexpr int64_t kRun = 512;

RQAT_INLINE F load_logits(const float* p, int64_t count) {
  return count == kLanes ? load(p) : load_part(p, count, -INFINITY);
}

RQAT_INLINE bool has_nan(const float* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (x[i] != x[i]) return true;
  return false;
}

RowStatistics statistics(const float* logits, int64_t count, float inverse_temperature) {
  double top = -INFINITY, total = 0, moment = 0;  // moment = sum of e^(z - top) (z - top)
  for (int64_t start = 0; start < count; start += kRun) {
    const float* run = logits + start;
    const int64_t size = std::min(kRun, count - start);
    F lane_top = splat(-INFINITY);
    for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      lane_top = at_least(load_logits(run + i, n), lane_top);
    });
    const float run_top = maximum(lane_top) * inverse_temperature;
    if (run_top == -INFINITY && !has_nan(run, size)) continue;
    if (run_top > top) {
      const double drop = top - run_top, shrink = std::exp(drop);
      moment = total > 0 ? shrink * (moment + drop * total) : 0;
      total *= shrink;
      top = run_top;
    }
    const float shift = static_cast<float>(top);
    F sums{}, moments{};
    for_vectors(size, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      const F z = load_logits(run + i, n) * inverse_temperature - shift, e = exponential(z);
      sums += e;
      moments = fma(e, e == 0.0f ? F{} : z, moments);
    });
    total += sum(sums);
    moment += sum(moments);
  }
  RowStatistics row;
  row.maximum = static_cast<float>(top);
  row.log_sum = static_cast<float>(std::log(total));
  row.entropy = static_cast<float>(std::log(total) - moment / total);
  return row;
}

void scaled_softmax(float* logits, int64_t count, float inverse_temperature, const RowStatistics& row, float factor) {
  const float scale = factor * std::exp(-row.log_sum);
  for_vectors(count, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    store_some(logits + i, n, exponential(load_logits(logits + i, n) * inverse_temperature - row.maximum) * scale);
  });
}

struct LogSoftmax {
  float inverse_temperature, maximum, log_sum, inverse_sum;
  static LogSoftmax of(float inverse_temperature, const RowStatistics& row) {
    return {inverse_temperature, row.maximum, row.log_sum, std::exp(-row.log_sum)};
  }
};
RQAT_INLINE F shifted(const LogSoftmax& s, F logit) { return logit * s.inverse_temperature - s.maximum; }

RQAT_INLINE float forward_divergence(float* student, const float* teacher, int64_t count, const LogSoftmax& s,
                                     const LogSoftmax& t, float factor, bool want_grad) {
  double loss = 0;
  for (int64_t start = 0; start < count; start += kRun) {
    F sums{};
    for_vectors(std::min(kRun, count - start), [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      const F zs = shifted(s, load_logits(student + start + i, n)), zt = shifted(t, load_logits(teacher + start + i, n));
      const F p = exponential(zt) * t.inverse_sum;
      sums += p == 0.0f ? F{} : p * ((zt - t.log_sum) - (zs - s.log_sum));
      if (want_grad) store_some(student + start + i, n, (exponential(zs) * s.inverse_sum - p) * factor);
    });
    loss += sum(sums);
  }
  return static_cast<float>(loss);
}

// Leaves q in student and log(q / m) in teacher when `want_grad`.
RQAT_INLINE float mixture_divergence(float* student, float* teacher, int64_t count, const LogSoftmax& s,
                                     const LogSoftmax& t, float beta, float factor, bool want_grad) {
  const bool mixed = beta < 1;
  const float log_beta = std::log(beta), log_rest = std::log1p(-beta), coefficient = mixed ? 1 - beta : 1;
  double from_student = 0, from_teacher = 0;  // KL(q || m), KL(p || m)
  for (int64_t start = 0; start < count; start += kRun) {
    F student_sums{}, teacher_sums{};
    for_vectors(std::min(kRun, count - start), [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      const F zs = shifted(s, load_logits(student + start + i, n)), zt = shifted(t, load_logits(teacher + start + i, n));
      const F log_q = zs - s.log_sum, log_p = zt - t.log_sum, q = exponential(zs) * s.inverse_sum;
      F log_m = log_p;
      if (mixed) {
        const F a = log_p + log_beta, b = log_q + log_rest, high = at_least(a, b);
        log_m = high + log_one_plus(exponential(at_most(a, b) - high));
        const F p = exponential(zt) * t.inverse_sum;
        teacher_sums += p == 0.0f ? F{} : p * (log_p - log_m);
      }
      const F ratio = q == 0.0f ? F{} : log_q - log_m;
      student_sums = fma(q, ratio, student_sums);
      if (want_grad) {
        store_some(student + start + i, n, q);
        store_some(teacher + start + i, n, ratio);
      }
    });
    from_student += sum(student_sums);
    from_teacher += sum(teacher_sums);
  }
  if (want_grad) {
    const float mean = static_cast<float>(from_student), scale = factor * coefficient;
    for_vectors(count, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      store_some(student + i, n, load_some(student + i, n) * (load_some(teacher + i, n) - mean) * scale);
    });
  }
  return static_cast<float>(coefficient * from_student + (mixed ? beta * from_teacher : 0));
}

float divergence(float* student, float* teacher, int64_t count, float inverse_temperature,
                 const RowStatistics& student_row, const RowStatistics& teacher_row, float beta, float factor,
                 bool want_grad) {
  const LogSoftmax s = LogSoftmax::of(inverse_temperature, student_row);
  const LogSoftmax t = LogSoftmax::of(inverse_temperature, teacher_row);
  if (beta == 0) return forward_divergence(student, teacher, count, s, t, factor, want_grad);
  return mixture_divergence(student, teacher, count, s, t, beta, factor, want_grad);
}

void adamw(float* parameter, const float* grad, float* first_moment, float* second_moment, int64_t count,
           const AdamwFactors& factors) {
  const AdamwFactors f = factors;
  for_vectors(count, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const F g = load_some(grad + i, n) * f.grad_scale;
    const F m = load_some(first_moment + i, n) * f.beta1 + g * f.one_minus_beta1;
    const F v = load_some(second_moment + i, n) * f.beta2 + g * g * f.one_minus_beta2;
    const F update = m / (square_root(v * f.inverse_second_correction) + f.eps);
    store_some(first_moment + i, n, m);
    store_some(second_moment + i, n, v);
    store_some(parameter + i, n, load_some(parameter + i, n) * f.decay - update * f.step_size);
  });
}
