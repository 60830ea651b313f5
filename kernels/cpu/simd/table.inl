template <class T>
constexpr PointwiseKernels<T> kPointwise = {rms_norm<T>, rms_norm_backward<T>, rope<T>,          silu_mul<T>,
                                            silu_mul_backward<T>, decode_attention<T>, sum_of_squares<T>};

constexpr DenseKernels kTable = {
    kPointwise<uint16_t>,
    kPointwise<float>,
    {statistics, scaled_softmax, divergence},
    {scale_and_mask, exponentiate, backward_scores, transpose_out, dot},
    {pair_rows, pair_columns, transpose_rows, round_row},
    adamw,
    {decode_moments, encode_moments},
};
