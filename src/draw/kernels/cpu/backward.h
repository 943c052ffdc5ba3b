// The recurrence backward, for one thread's part of the batch.
//
// The weights' gradients wait: the gradients of several steps are gathered, and one product a
// weight adds what they bring.
#pragma once
#include "forward.h"

constexpr long GATHERED_ROWS = 1024;  // rows in one product of a weight's gradient

inline Weights shifted(const Weights& w, long by) {
    return {w.W_enc + by,    w.b_enc + by,   w.W_post + by,  w.b_post + by,  w.W_dec + by,
            w.b_dec + by,    w.W_out + by,   w.b_out + by,   w.canvas_0 + by, w.h_enc_0 + by,
            w.c_enc_0 + by,  w.h_dec_0 + by, w.c_dec_0 + by};
}

// Gradients on the way back: X's row by row, and those of the steps that are gathered.
struct Scratch {
    float *dX, *d_c_enc, *d_c_dec, *d_canvas, *d_read, *d_post, *d_out, *d_enc, *d_dec;

    Scratch(const Job& job, Arena& arena, long b)
        : dX(arena.take(b * job.row())),
          d_c_enc(arena.take(b * job.hidden)),
          d_c_dec(arena.take(b * job.hidden)),
          d_canvas(arena.take(b * job.canvas_image().size())),
          d_read(arena.take(b * 5)),
          d_post(arena.take(gathered(job, b) * b * 2 * job.Z)),
          d_out(arena.take(gathered(job, b) * b * job.out())),
          d_enc(arena.take(gathered(job, b) * b * 4 * job.hidden)),
          d_dec(arena.take(gathered(job, b) * b * 4 * job.hidden)) {}

    static long gathered(const Job& job, long b) {  // steps
        const long steps = (GATHERED_ROWS + b - 1) / b;
        return steps < job.T ? steps : job.T;
    }
};

struct Backward : Forward {
    Scratch s;
    const Weights d;  // this thread's share of the gradients
    const long steps;

    Backward(const Job& job, long k, Arena& arena)
        : Forward(job, k, arena), s(job, arena, part.count),
          d(shifted(job.gradients, k * job.gradient_stride)), steps(Scratch::gathered(job, b)) {}

    void run() {
        clear(d.W_enc, job.gradient_stride);
        clear(s.dX, s.d_post - s.dX);  // all that goes from step to step
        if (job.d_canvas)
            for (long i = 0; i < b; ++i)
                pad(canvas_image, job.d_canvas + (part.first + i) * job.canvas_pixels(),
                    s.d_canvas + i * canvas_size);
        for (long end = job.T; end > 0; end -= steps) {
            const long begin = end > steps ? end - steps : 0;
            for (long t = end - 1; t >= begin; --t) {
                decode_step(t, (t - begin) * b);
                encode_step(t, (t - begin) * b);
            }
            add_products(begin, (end - begin) * b);
        }
        finish();
    }

    // `at`: the first of the step's rows among the gathered.
    void decode_step(long t, long at) {
        const long n = job.out(), gates = 4 * hidden, Z = job.Z;
        float *d_out = s.d_out + at * n, *d_dec = s.d_dec + at * gates;
        for (long i = 0; i < b; ++i) {
            unpaint(a.out[t + 1] + i * n, s.d_canvas + i * canvas_size, d_out + i * n);
            if (job.n_read) copy(d_out + i * n + job.read_params(), s.d_read + i * 5, 5);
            add(d.b_out, d_out + i * n, n);
        }
        job.product(b, hidden, n, d_out, n, job.weights.W_out, hidden, 1, s.dX + job.h_dec_at(),
                    row);
        for (long i = 0; i < b; ++i) {
            lstm_backward(a.dec[t] + i * gates, a.c_dec[t] + i * hidden,
                          a.c_dec[t + 1] + i * hidden, s.dX + i * row + job.h_dec_at(),
                          s.d_c_dec + i * hidden, d_dec + i * gates, hidden);
            add(d.b_dec, d_dec + i * gates, gates);
        }
        job.product(b, Z + hidden, gates, d_dec, gates, job.weights.W_dec, Z + hidden, 0,
                    s.dX + job.z_at(), row);
    }

    void unpaint(const float* out, const float* d_canvas, float* d_out) {
        if (job.n_write) {
            Filters f(canvas_image, job.n_write, a.filters);
            write_backward(f, out + job.write_params(), out, d_canvas, d_out,
                           d_out + job.write_params());
        } else {
            unpad(canvas_image, d_canvas, d_out);
        }
    }

    void encode_step(long t, long at) {
        const long gates = 4 * hidden, Z = job.Z, r = job.r();
        float *d_post = s.d_post + at * 2 * Z, *d_enc = s.d_enc + at * gates;
        for (long i = 0; i < b; ++i) {
            unsample(t, i, d_post + i * 2 * Z);
            add(d.b_post, d_post + i * 2 * Z, 2 * Z);
        }
        job.product(b, hidden, 2 * Z, d_post, 2 * Z, job.weights.W_post, hidden, 1,
                    s.dX + job.h_enc_at(), row);
        for (long i = 0; i < b; ++i) {
            float* dX = s.dX + i * row;
            lstm_backward(a.enc[t] + i * gates, a.c_enc[t] + i * hidden,
                          a.c_enc[t + 1] + i * hidden, dX + job.h_enc_at(), s.d_c_enc + i * hidden,
                          d_enc + i * gates, hidden);
            add(d.b_enc + job.enc_bias(part.first + i), d_enc + i * gates, gates);
            clear(dX + job.r_at(), r + hidden);  // the product adds to h_dec's part
        }
        job.product(b, 2 * hidden + r, gates, d_enc, gates, job.weights.W_enc, 2 * hidden + r, 1,
                    s.dX + job.h_dec_at(), row);
        for (long i = 0; i < b; ++i) unlook(t, i);
    }

    void unsample(long t, long i, float* d_post) {
        const long Z = job.Z, at = t * job.B + part.first + i;
        float* d_z = s.dX + i * row + job.z_at();
        if (job.d_z) add(d_z, job.d_z + at * Z, Z);
        sample_backward(job.mu + at * Z, job.log_sigma + at * Z, a.X[t] + i * row + job.z_at(), d_z,
                        job.d_kl ? job.d_kl[at] : 0, d_post, Z);
        if (job.d_mu) add(d_post, job.d_mu + at * Z, Z);
        if (job.d_log_sigma) add(d_post + Z, job.d_log_sigma + at * Z, Z);
    }

    void unlook(long t, long i) {
        const float *x = a.x + i * size, *x_hat = a.x_hat[t] + i * size;
        const float* dr = s.dX + i * row + job.r_at();
        float* d_canvas = s.d_canvas + i * canvas_size;
        if (job.n_read) {
            Filters f(image, job.n_read, a.filters);
            read_backward(f, a.out[t] + i * job.out() + job.read_params(), x, x_hat,
                          a.X[t] + i * row + job.r_at(), dr, mean, s.d_read + i * 5, d_canvas);
            return;
        }
        for (long y = 0; y < image.rows(); ++y)
            for (long p = 0; p < image.width; ++p) {
                const long at = y * image.stride + p;
                d_canvas[at] -= dr[y * image.width + p] * mean.slope(x[at] - x_hat[at]);
            }
    }

    // What `rows` gathered rows, from step t on, bring to the weights.
    void add_products(long t, long rows) {
        const long gates = 4 * hidden, Z = job.Z, n = job.out(), r = job.r();
        const float *X = a.X[t], *next = a.X[t + 1];
        job.outer(gates, 2 * hidden + r, rows, s.d_enc, gates, X + job.h_dec_at(), row, d.W_enc,
                  2 * hidden + r);
        job.outer(gates, Z + hidden, rows, s.d_dec, gates, X + job.z_at(), row, d.W_dec,
                  Z + hidden);
        job.outer(2 * Z, hidden, rows, s.d_post, 2 * Z, next + job.h_enc_at(), row, d.W_post,
                  hidden);
        job.outer(n, hidden, rows, s.d_out, n, next + job.h_dec_at(), row, d.W_out, hidden);
    }

    // The first read window, and the learned start, which all rows share.
    void finish() {
        const long first = job.read_params();
        if (job.n_read) {
            job.product(b, hidden, 5, s.d_read, 5, job.weights.W_out + first * hidden, hidden, 1,
                        s.dX + job.h_dec_at(), row);
            job.outer(5, hidden, b, s.d_read, 5, a.X[0] + job.h_dec_at(), row,
                      d.W_out + first * hidden, hidden);
        }
        for (long i = 0; i < b; ++i) {
            const float* dX = s.dX + i * row;
            if (job.n_read) add(d.b_out + first, s.d_read + i * 5, 5);
            add(d.h_enc_0, dX + job.h_enc_at(), hidden);
            add(d.c_enc_0, s.d_c_enc + i * hidden, hidden);
            add(d.h_dec_0, dX + job.h_dec_at(), hidden);
            add(d.c_dec_0, s.d_c_dec + i * hidden, hidden);
            const Image& c = canvas_image;
            for (long y = 0; y < c.rows(); ++y)
                add(d.canvas_0 + y * c.width, s.d_canvas + i * canvas_size + y * c.stride,
                    c.width);
        }
    }
};
