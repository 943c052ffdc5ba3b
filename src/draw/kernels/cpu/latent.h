// The posterior, a sample from it and its KL divergence, for one row of the batch.
#pragma once
#include "numbers.h"

// `out` holds the products for mu and log sigma; returns KL(Q, N(0, I)) in nats.
inline float sample(const float* out, const float* bias, const float* eps, float* mu,
                    float* log_sigma, float* z, long n) {
    float kl = 0;
#pragma omp simd reduction(+ : kl)
    for (long k = 0; k < n; ++k) {
        mu[k] = out[k] + bias[k];                 // eq. 1
        log_sigma[k] = out[n + k] + bias[n + k];  // eq. 2
        const float sigma = exponential(log_sigma[k]);
        z[k] = mu[k] + sigma * eps[k];  // eq. 6
        kl += mu[k] * mu[k] + sigma * sigma - 2 * log_sigma[k] - 1;  // eq. 10
    }
    return kl / 2;
}

// Computes the gradients of mu and log sigma, `d_out`, from those of z and of the KL divergence.
inline void sample_backward(const float* mu, const float* log_sigma, const float* z,
                            const float* d_z, float d_kl, float* d_out, long n) {
#pragma omp simd
    for (long k = 0; k < n; ++k) {
        const float sigma = exponential(log_sigma[k]);
        d_out[k] = d_z[k] + d_kl * mu[k];
        d_out[n + k] = d_z[k] * (z[k] - mu[k]) + d_kl * (sigma * sigma - 1);
    }
}
