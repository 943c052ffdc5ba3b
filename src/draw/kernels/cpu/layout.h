// What Python hands over, and how one thread's part of the batch lies in memory.
//
// Both inputs of both cells stand in one row, X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}], so
// that the decoder's cell is one product over its first half and the encoder's one over the rest.
#pragma once
#include <cstdint>

#include "attention.h"

// Row-major out [m, n] = a [m, k] b [k, n] + beta out, by the BLAS that PyTorch brings.
typedef void Sgemm(const char*, const char*, const int*, const int*, const int*, const float*,
                   const float*, const int*, const float*, const int*, const float*, float*,
                   const int*);

// `work(data)` on several threads: what a compiler makes of an OpenMP region, by PyTorch's OpenMP.
typedef void Parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);

// Floats between the rows of a transposed weight: rows of 4096 bytes would share cache lines.
constexpr long GAP = 16;

// The trained values, the encoder's columns in the order of X; or their gradients.
struct Weights {
    float *W_enc, *b_enc;    // [4 hidden, hidden + r + hidden], [4 hidden] or see enc_bias
    float *W_post, *b_post;  // [2 Z, hidden]: mu, log sigma
    float *W_dec, *b_dec;    // [4 hidden, Z + hidden]
    float *W_out, *b_out;    // [w + 5 + 5, hidden]: patch, write window, next read window
    float *canvas_0, *h_enc_0, *c_enc_0, *h_dec_0, *c_dec_0;
};

// Mirrored by `Job` in recurrence.py, field by field.
struct Job {
    int64_t T, B, C, K, H, W, hidden, Z, n_read, n_write;  // n = 0: without attention
    int64_t clamped, threads, keep;  // keep: all that the gradients need
    Sgemm* sgemm;
    int (*set_threads)(int);  // the BLAS's threads for calls from this thread
    Parallel* parallel;
    Weights weights, transposed;
    const float *x, *eps;
    float *workspace, *canvas, *z, *mu, *log_sigma, *kl;
    float *canvases, *reads, *writes;  // [T, B, ...], null unless recording
    const float *d_canvas, *d_z, *d_mu, *d_log_sigma, *d_kl;  // null: nothing reaches it
    Weights gradients;  // the first thread's; those of thread k lie k * gradient_stride further on
    int64_t gradient_stride;

    Image image() const { return {C, H, W, padded(W)}; }
    Image canvas_image() const { return {K, H, W, padded(W)}; }  // the first C make the mean
    Mean mean() const { return {clamped != 0}; }
    long r() const { return n_read ? 2 * C * n_read * n_read : pixels(); }  // no x, see enc_bias
    long w() const { return K * (n_write ? n_write * n_write : H * W); }
    long pixels() const { return C * H * W; }
    long canvas_pixels() const { return K * H * W; }
    long write_params() const { return w(); }  // the window's place in a row of `out`
    long read_params() const { return w() + (n_write ? 5 : 0); }
    long out() const { return read_params() + (n_read ? 5 : 0); }
    long row() const { return padded(padded(Z) + 2 * hidden + r()); }
    long z_at() const { return padded(Z) - Z; }  // so that h_dec is aligned
    long h_dec_at() const { return padded(Z); }
    long r_at() const { return h_dec_at() + hidden; }
    long h_enc_at() const { return r_at() + r(); }
    // Image b's part of b_enc; without read attention it has one, what its gates get of x itself.
    long enc_bias(long b) const { return n_read ? 0 : b * 4 * hidden; }

    void product(long m, long n, long k, const float* a, long lda, const float* b, long ldb,
                 float beta, float* c, long ldc) const {
        const int M = n, N = m, K = k, LDA = ldb, LDB = lda, LDC = ldc;
        const float one = 1;
        sgemm("N", "N", &M, &N, &K, &one, b, &LDA, a, &LDB, &beta, c, &LDC);
    }

    // out [m, n] += a^T b over k rows: a weight's gradient.
    void outer(long m, long n, long k, const float* a, long lda, const float* b, long ldb,
               float* c, long ldc) const {
        const int M = n, N = m, K = k, LDA = ldb, LDB = lda, LDC = ldc;
        const float one = 1;
        sgemm("N", "T", &M, &N, &K, &one, b, &LDA, a, &LDB, &one, c, &LDC);
    }
};

// Hands out aligned pieces of one allocation; without one it only counts.
struct Arena {
    float* base;
    long used = 0;

    float* take(long floats) {
        float* piece = base ? base + used : nullptr;
        used += padded(floats);
        return piece;
    }
};

// One value a step: all of them kept, or each in the place of the last.
struct Steps {
    float* data;
    long stride;

    Steps(Arena& arena, long steps, long floats, bool keep)
        : data(arena.take(keep ? steps * padded(floats) : floats)),
          stride(keep ? padded(floats) : 0) {}
    float* operator[](long t) const { return data + t * stride; }
};

// The rows of the batch that belong to thread `k`.
struct Part {
    long first, count;

    Part(const Job& job, long k)
        : first(job.B * k / job.threads), count(job.B * (k + 1) / job.threads - first) {}
};

// What one thread computes on the way forward; `b` rows.
struct Activations {
    float *x, *canvas, *post, *filters;
    Steps X, enc, dec, c_enc, c_dec, out, x_hat;

    Activations(const Job& job, Arena& arena, long b)
        : x(arena.take(b * job.image().size())),
          canvas(arena.take(b * job.canvas_image().size())),
          post(arena.take(b * 2 * job.Z)),
          filters(arena.take(Filters::room(job.image(), largest_patch(job)))),
          X(arena, job.T + 1, b * job.row(), job.keep),
          enc(arena, job.T, b * 4 * job.hidden, job.keep),  // gates, activated
          dec(arena, job.T, b * 4 * job.hidden, job.keep),
          c_enc(arena, job.T + 1, b * job.hidden, job.keep),
          c_dec(arena, job.T + 1, b * job.hidden, job.keep),
          out(arena, job.T + 1, b * job.out(), job.keep),  // of h_dec_{t-1} in place t
          x_hat(arena, job.T, b * job.image().size(), job.keep) {}

    static long largest_patch(const Job& job) {
        return job.n_read > job.n_write ? job.n_read : job.n_write;
    }
};
