// Matrix products of float32 matrices whose elements are rounded to bfloat16, for processors with
// AVX512-BF16. Sums stay in float32.
//
// An instruction multiplies 16 pairs of numbers and adds the two products of each pair, so factors
// are stored as pairs along the summed dimension. The right factor consists of panels of `PANEL`
// columns: word [p][j] of a panel holds elements 2p and 2p + 1 of column j.
#pragma once
#include <cstdint>
#include <vector>

typedef uint32_t Pair;

constexpr long PANEL = 48;  // columns; with `TILE` rows, 24 vectors of sums fill the registers
constexpr long TILE = 8;    // rows

inline long panels_size(long rows, long columns) {  // words
    return (rows + 1) / 2 * ((columns + PANEL - 1) / PANEL * PANEL);
}

// Returns the larger of the sizes for a matrix and for its transpose.
inline long max_panels_size(long rows, long columns) {
    const long size = panels_size(rows, columns), transposed = panels_size(columns, rows);
    return size > transposed ? size : transposed;
}

#ifdef __AVX512BF16__
#include <immintrin.h>

constexpr bool HAS_BFLOAT16 = true;

inline __mmask16 first_lanes(long n) { return n >= 16 ? 0xFFFF : n > 0 ? (1u << n) - 1 : 0; }

inline __m512i round_to_bfloat16(__m512 low, __m512 high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// Rounds two rows of up to 16 floats and interleaves them; `odd` is null behind the last row.
inline void interleave(const float* even, const float* odd, long columns, Pair* to) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                           8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __mmask16 mask = first_lanes(columns);
    const __m512 low = _mm512_maskz_loadu_ps(mask, even);
    const __m512 high = odd ? _mm512_maskz_loadu_ps(mask, odd) : _mm512_setzero_ps();
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, round_to_bfloat16(low, high)));
}

// Stores a matrix [rows, columns] as pairs in panels of `width` columns, a multiple of 16.
inline void pack(const float* from, long stride, long rows, long columns, long width, Pair* to) {
    const long pairs = (rows + 1) / 2;
    for (long p = 0; p < pairs; ++p) {
        const float* even = from + 2 * p * stride;
        const float* odd = 2 * p + 1 < rows ? even + stride : nullptr;
        for (long j = 0; j < columns; j += 16)
            interleave(even + j, odd ? odd + j : nullptr, columns - j,
                       to + (j / width * pairs + p) * width + j % width);
    }
}

// One tile of a product. Word p of row i of the left factor: a[i * row + p * step].
struct Tile {
    const Pair* a;
    long row, step;
    const Pair* panel;
    long pairs;
    float* out;
    long stride, rows, columns;
    bool add;  // to `out`

    template <int R, int V> void multiply() const {
        __m512 sum[R][V];
        for (int i = 0; i < R; ++i)
            for (int v = 0; v < V; ++v) sum[i][v] = _mm512_setzero_ps();
        for (long p = 0; p < pairs; ++p) {
            __m512bh b[V];
            for (int v = 0; v < V; ++v)
                b[v] = (__m512bh)_mm512_loadu_si512(panel + p * PANEL + 16 * v);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) {
                const __m512bh pair = (__m512bh)_mm512_set1_epi32(a[i * row + p * step]);
#pragma GCC unroll 3
                for (int v = 0; v < V; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], pair, b[v]);
            }
        }
        for (int i = 0; i < R && i < rows; ++i)
            for (int v = 0; v < V; ++v) {
                float* to = out + i * stride + 16 * v;
                const __mmask16 mask = first_lanes(columns - 16 * v);
                const __m512 before = add ? _mm512_maskz_loadu_ps(mask, to) : _mm512_setzero_ps();
                _mm512_mask_storeu_ps(to, mask, before + sum[i][v]);
            }
    }

    template <int R> void multiply() const {
        if (columns > 32) multiply<R, 3>();
        else if (columns > 16) multiply<R, 2>();
        else multiply<R, 1>();
    }
};

// out [m, n] = a [m, k] b [k, n], plus out if `add`; `panels` is b, packed.
inline void multiply_bfloat16(long m, long n, long k, const float* a, long a_stride,
                              const Pair* panels, float* out, long stride, bool add) {
    static thread_local std::vector<Pair> left;
    const long pairs = (k + 1) / 2, row = (pairs + 15) / 16 * 16;
    left.resize((m + TILE) * row);  // a tile may read rows behind the last, whose sums are dropped
    for (long i = 0; i < m; ++i)
        for (long p = 0; p < k; p += 32) {
            const float* from = a + i * a_stride + p;
            const __m512 low = _mm512_maskz_loadu_ps(first_lanes(k - p), from);
            const __m512 high = _mm512_maskz_loadu_ps(first_lanes(k - p - 16), from + 16);
            _mm512_storeu_si512(&left[i * row + p / 2], round_to_bfloat16(low, high));
        }
    for (long j = 0; j < n; j += PANEL)
        for (long i = 0; i < m; i += TILE) {
            const Tile tile{&left[i * row], row, 1, panels + j * pairs, pairs, out + i * stride + j,
                            stride, m - i, n - j, add};
            m - i > TILE / 2 ? tile.multiply<TILE>() : tile.multiply<TILE / 2>();
        }
}

// out [m, n] += a^T b over k rows.
inline void add_outer_bfloat16(long m, long n, long k, const float* a, long a_stride,
                               const float* b, long b_stride, float* out, long stride) {
    static thread_local std::vector<Pair> left, right;
    const long pairs = (k + 1) / 2;
    left.resize((m + 15) / 16 * 16 * pairs);
    right.resize(panels_size(k, n));
    pack(a, a_stride, k, m, 16, left.data());
    pack(b, b_stride, k, n, PANEL, right.data());
    for (long j = 0; j < n; j += PANEL)
        for (long i = 0; i < m; i += TILE)
            Tile{&left[i / 16 * 16 * pairs + i % 16], 1, 16, &right[j * pairs], pairs,
                 out + i * stride + j, stride, m - i, n - j, true}
                .multiply<TILE>();
}

#else

constexpr bool HAS_BFLOAT16 = false;

inline void pack(const float*, long, long, long, long, Pair*) {}
inline void multiply_bfloat16(long, long, long, const float*, long, const Pair*, float*, long, bool) {}
inline void add_outer_bfloat16(long, long, long, const float*, long, const float*, long, float*, long) {}

#endif
