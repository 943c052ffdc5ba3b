// The job that Python passes, and the memory layout of one thread's part of the batch.
//
// One row holds the inputs of both LSTMs, X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}]: the decoder
// reads its columns z_t and h_dec_{t-1}, the encoder all columns from h_dec_{t-1}.
#pragma once
#include "attention.h"
#include "runtime.h"

// Parameters, with the columns of the encoder in the order of X; or their gradients.
struct Weights {
    float *W_enc, *b_enc;    // [4 hidden, hidden + r + hidden], [4 hidden] or see enc_bias
    float *W_post, *b_post;  // [2 Z, hidden]: mu, log sigma
    float *W_dec, *b_dec;    // [4 hidden, Z + hidden]
    float *W_out, *b_out;    // [w + 5 + 5, hidden]: patch, write window, next read window
    float *canvas_0, *h_enc_0, *c_enc_0, *h_dec_0, *c_dec_0;

    Weights shifted(long by) const {
        return {W_enc + by, b_enc + by, W_post + by,   b_post + by,  W_dec + by,
                b_dec + by, W_out + by, b_out + by,    canvas_0 + by, h_enc_0 + by,
                c_enc_0 + by, h_dec_0 + by, c_dec_0 + by};
    }
};

// Mirrored by `DrawJob` in recurrence.py, field by field.
struct Job {
    int64_t T, B, C, K, H, W, hidden, Z, n_read, n_write;  // n = 0: without attention
    int64_t clamped, error_scale, threads, keep;  // keep: keep the activations for the gradients
    Runtime runtime;
    Weights weights, transposed;
    Pair* panels;          // the LSTMs' weights in bfloat16; null for products in float32
    const float *x, *eps;  // x is null in generation
    float *workspace, *canvas, *z, *mu, *log_sigma, *kl;
    float *canvases, *read_params, *write_params;  // [T, B, ...]; null unless recorded
    const float *d_canvas, *d_z, *d_mu, *d_log_sigma, *d_kl;  // null if zero
    Weights gradients;  // the first thread's; thread k adds k * gradient_stride
    int64_t gradient_stride;

    Image image() const { return {C, H, W, padded(W)}; }
    Image canvas_image() const { return {K, H, W, padded(W)}; }  // the first C define the mean
    Mean mean() const { return {clamped != 0, float(error_scale)}; }
    long gates() const { return 4 * hidden; }
    long r() const { return n_read ? 2 * C * n_read * n_read : pixels(); }  // no x, see enc_bias
    long w() const { return K * (n_write ? n_write * n_write : H * W); }
    long pixels() const { return C * H * W; }
    long canvas_pixels() const { return K * H * W; }

    // Offsets in a row of `out`, the outputs of the decoder.
    long write_at() const { return w(); }
    long read_at() const { return w() + (n_write ? 5 : 0); }
    long out() const { return read_at() + (n_read ? 5 : 0); }

    // Offsets in a row of X.
    long row() const { return padded(padded(Z) + 2 * hidden + r()); }
    long z_at() const { return padded(Z) - Z; }  // aligns h_dec
    long h_dec_at() const { return padded(Z); }
    long r_at() const { return h_dec_at() + hidden; }
    long h_enc_at() const { return r_at() + r(); }

    // Columns of X that each LSTM reads.
    long enc_inputs() const { return 2 * hidden + r(); }
    long dec_inputs() const { return Z + hidden; }

    Pair* enc_panels() const { return panels; }
    Pair* dec_panels() const { return panels ? panels + max_panels(enc_inputs()) : nullptr; }
    long panels_total() const { return max_panels(enc_inputs()) + max_panels(dec_inputs()); }
    long max_panels(long inputs) const { return max_panels_size(inputs, gates()); }

    // Offset of image b in b_enc. Without read attention the bias includes the contribution of x.
    long enc_bias(long b) const { return n_read ? 0 : b * gates(); }
};

// The activations of one thread; `b` rows.
struct Activations {
    float *x, *canvas, *post, *filters;
    PerGlimpse X, enc, dec, c_enc, c_dec, out, x_hat;

    Activations(const Job& job, Arena& arena, long b)
        : x(arena.take(b * job.image().size())),
          canvas(arena.take(b * job.canvas_image().size())),
          post(arena.take(b * 2 * job.Z)),
          filters(arena.take(Filters::room(job.image(), max_patch(job)))),
          X(arena, job.T + 1, b * job.row(), job.keep),
          enc(arena, job.T, b * job.gates(), job.keep),  // gates after their activation
          dec(arena, job.T, b * job.gates(), job.keep),
          c_enc(arena, job.T + 1, b * job.hidden, job.keep),
          c_dec(arena, job.T + 1, b * job.hidden, job.keep),
          out(arena, job.T + 1, b * job.out(), job.keep),  // index t: from h_dec_{t-1}
          x_hat(arena, job.T, b * job.image().size(), job.keep) {}

    static long max_patch(const Job& job) {
        return job.n_read > job.n_write ? job.n_read : job.n_write;
    }
};

constexpr long GATHERED_ROWS = 1024;  // rows per product of a weight's gradient

// The gradients of one thread. Those that enter a weight's gradient are kept for several glimpses,
// so that one product adds the contributions of all of them.
struct Gradients {
    float *dX, *d_c_enc, *d_c_dec, *d_canvas, *d_read;  // carried from glimpse to glimpse
    float *d_post, *d_out, *d_enc, *d_dec;              // gathered

    Gradients(const Job& job, Arena& arena, long b)
        : dX(arena.take(b * job.row())),
          d_c_enc(arena.take(b * job.hidden)),
          d_c_dec(arena.take(b * job.hidden)),
          d_canvas(arena.take(b * job.canvas_image().size())),
          d_read(arena.take(b * 5)),
          d_post(arena.take(gathered(job, b) * b * 2 * job.Z)),
          d_out(arena.take(gathered(job, b) * b * job.out())),
          d_enc(arena.take(gathered(job, b) * b * job.gates())),
          d_dec(arena.take(gathered(job, b) * b * job.gates())) {}

    void clear_carried() { clear(dX, d_post - dX); }

    static long gathered(const Job& job, long b) {  // glimpses
        const long glimpses = (GATHERED_ROWS + b - 1) / b;
        return glimpses < job.T ? glimpses : job.T;
    }
};
