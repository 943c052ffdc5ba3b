// Vectors of floats, with exp, sigmoid and tanh that the compiler turns into vector code.
//
// The functions are templates over `float` and `vec`, so that a loop over floats and a loop over
// padded image rows share one definition. Relative errors are about 1e-7. Infinities and NaN
// propagate as in libm: a canvas logit of 200 gives a sigmoid of 1, and a NaN stays a NaN.
#pragma once
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

typedef float v4 __attribute__((vector_size(16)));
typedef float v8 __attribute__((vector_size(32)));
typedef float v16 __attribute__((vector_size(64)));

#if defined(__AVX512F__)
typedef v16 vec;
#elif defined(__AVX__)
typedef v8 vec;
#else
typedef v4 vec;
#endif
typedef unsigned uvec __attribute__((vector_size(sizeof(vec))));

constexpr long LANES = sizeof(vec) / sizeof(float);

inline long padded(long n) { return (n + 15) / 16 * 16; }  // whole vectors of any width

template <class F> struct Bits;
template <> struct Bits<float> { typedef unsigned type; };
template <> struct Bits<vec> { typedef uvec type; };

template <class To, class From> inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class F> inline F all(float value) { return F{} + value; }

// 2^n p(r) with x = n log 2 + r and |r| <= log(2) / 2; p is Cephes' expf.
template <class F> inline F exponential(F x) {
    typedef typename Bits<F>::type U;
    const F low = all<F>(-87.3f), high = all<F>(88.37f);
    F bounded = x < low ? low : x;
    bounded = bounded > high ? high : bounded;
    const F magic = all<F>(12582912.f);  // 1.5 2^23: adding it rounds to an integer
    const F shifted = bounded * 1.44269504f + magic;
    const F n = shifted - magic;
    const F r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.f;
    const U power = (bit_cast<U>(shifted) - 0x4B400000u + 127u) << 23;
    p = p * bit_cast<F>(power);
    return x > high ? all<F>(std::numeric_limits<float>::infinity()) : p;
}

template <class F> inline F sigmoid(F x) { return 1.f / (1.f + exponential<F>(-x)); }

template <class F> inline F hyperbolic_tangent(F x) {
    const F size = x < all<F>(0.f) ? -x : x;
    const F far = 1.f - 2.f / (1.f + exponential<F>(size + size));
    const F s = x * x;  // near zero, where `far` would cancel: Cephes' tanhf
    F p = s * -5.70498872745e-3f + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    const F near = x + x * (s * p);
    const F signed_far = x < all<F>(0.f) ? -far : far;
    return size < all<F>(0.625f) ? near : signed_far;
}

inline vec load(const float* from) {
    vec value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline void store(float* to, vec value) { std::memcpy(to, &value, sizeof value); }

inline float sum(v4 v) { return (v[0] + v[1]) + (v[2] + v[3]); }

inline float sum(v8 v) {
    struct Halves {
        v4 low, high;
    } const half = bit_cast<Halves>(v);
    return sum(half.low + half.high);
}

inline float sum(v16 v) {
    struct Halves {
        v8 low, high;
    } const half = bit_cast<Halves>(v);
    return sum(half.low + half.high);
}

inline void clear(float* values, long n) { std::memset(values, 0, n * sizeof(float)); }

inline void copy(float* to, const float* from, long n) {
    std::memcpy(to, from, n * sizeof(float));
}

inline void add(float* to, const float* from, long n) {
#pragma omp simd
    for (long k = 0; k < n; ++k) to[k] += from[k];
}
