// One LSTM cell for one row of the batch (eqs. 5, 7); gates in the order i, f, g, o.
#pragma once
#include "numbers.h"

// `gates` holds the products W [input, h] on entry and the activated gates on return.
inline void lstm_forward(float* gates, const float* bias, const float* c_last, float* c, float* h,
                         long n) {
#pragma omp simd
    for (long k = 0; k < 2 * n; ++k) gates[k] = sigmoid(gates[k] + bias[k]);
#pragma omp simd
    for (long k = 2 * n; k < 3 * n; ++k) gates[k] = hyperbolic_tangent(gates[k] + bias[k]);
#pragma omp simd
    for (long k = 3 * n; k < 4 * n; ++k) gates[k] = sigmoid(gates[k] + bias[k]);
    const float *i = gates, *f = i + n, *g = f + n, *o = g + n;
#pragma omp simd
    for (long k = 0; k < n; ++k) {
        c[k] = f[k] * c_last[k] + i[k] * g[k];
        h[k] = o[k] * hyperbolic_tangent(c[k]);
    }
}

// Computes the gradients of the gates before their activation; `dc` becomes that of c_last.
inline void lstm_backward(const float* gates, const float* c_last, const float* c, const float* dh,
                          float* dc, float* d_gates, long n) {
    const float *i = gates, *f = i + n, *g = f + n, *o = g + n;
    float *d_i = d_gates, *d_f = d_i + n, *d_g = d_f + n, *d_o = d_g + n;
#pragma omp simd
    for (long k = 0; k < n; ++k) {
        const float t = hyperbolic_tangent(c[k]);
        const float d = dc[k] + dh[k] * o[k] * (1 - t * t);
        d_i[k] = d * g[k] * i[k] * (1 - i[k]);
        d_f[k] = d * c_last[k] * f[k] * (1 - f[k]);
        d_g[k] = d * i[k] * (1 - g[k] * g[k]);
        d_o[k] = dh[k] * t * o[k] * (1 - o[k]);
        dc[k] = d * f[k];
    }
}
