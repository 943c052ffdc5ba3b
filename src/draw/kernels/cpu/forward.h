// The recurrence forward, for one thread's part of the batch: T steps without a barrier.
#pragma once
#include "latent.h"
#include "layout.h"
#include "lstm.h"

// Image rows in and out of their padding.
inline void pad(const Image& image, const float* from, float* to) {
    for (long y = 0; y < image.rows(); ++y, from += image.width, to += image.stride) {
        std::memcpy(to, from, image.width * sizeof(float));
        clear(to + image.width, image.stride - image.width);
    }
}

inline void unpad(const Image& image, const float* from, float* to) {
    for (long y = 0; y < image.rows(); ++y, from += image.stride, to += image.width)
        std::memcpy(to, from, image.width * sizeof(float));
}

struct Forward {
    const Job& job;
    const Part part;
    Activations a;
    const Image image, canvas_image;
    const Mean mean;
    const long b, hidden, row, size, canvas_size;

    Forward(const Job& job, long k, Arena& arena)
        : job(job), part(job, k), a(job, arena, part.count), image(job.image()),
          canvas_image(job.canvas_image()), mean(job.mean()), b(part.count), hidden(job.hidden),
          row(job.row()), size(image.size()), canvas_size(canvas_image.size()) {}

    void run() {
        start();
        for (long t = 0; t < job.T; ++t) {
            if (job.x) encode_step(t);
            decode_step(t);
            if (job.canvases) record(t);
        }
        for (long i = 0; i < b; ++i)
            unpad(canvas_image, a.canvas + i * canvas_size,
                  job.canvas + (part.first + i) * job.canvas_pixels());
    }

    void start() {
        const Weights& w = job.weights;
        for (long i = 0; i < b; ++i) {
            float* X = a.X[0] + i * row;
            pad(canvas_image, w.canvas_0, a.canvas + i * canvas_size);
            copy(X + job.h_dec_at(), w.h_dec_0, hidden);
            copy(a.c_dec[0] + i * hidden, w.c_dec_0, hidden);
            if (!job.x) continue;
            pad(image, job.x + (part.first + i) * job.pixels(), a.x + i * size);
            copy(X + job.h_enc_at(), w.h_enc_0, hidden);
            copy(a.c_enc[0] + i * hidden, w.c_enc_0, hidden);
        }
        emit(0);
    }

    static void copy(float* to, const float* from, long n) {
        std::memcpy(to, from, n * sizeof(float));
    }

    // What h_dec_{t-1} says: patch and write window of the step before, read window of step t.
    void emit(long t) {
        const long n = job.out();
        job.product(b, n, hidden, a.X[t] + job.h_dec_at(), row, job.transposed.W_out, n + GAP,
                    0, a.out[t], n);
        for (long i = 0; i < b; ++i) add(a.out[t] + i * n, job.weights.b_out, n);
    }

    void encode_step(long t) {
        for (long i = 0; i < b; ++i) look(t, i);
        const long gates = 4 * hidden, Z = job.Z;
        job.product(b, gates, 2 * hidden + job.r(), a.X[t] + job.h_dec_at(), row,
                    job.transposed.W_enc, gates + GAP, 0, a.enc[t], gates);
        for (long i = 0; i < b; ++i)
            lstm(a.enc[t] + i * gates, job.weights.b_enc + job.enc_bias(part.first + i),
                 a.c_enc[t] + i * hidden, a.c_enc[t + 1] + i * hidden,
                 a.X[t + 1] + i * row + job.h_enc_at(), hidden);  // eq. 5
        job.product(b, 2 * Z, hidden, a.X[t + 1] + job.h_enc_at(), row, job.transposed.W_post,
                    2 * Z + GAP, 0, a.post, 2 * Z);
        for (long i = 0; i < b; ++i) {
            const long at = t * job.B + part.first + i;
            float* z = a.X[t] + i * row + job.z_at();
            job.kl[at] = sample(a.post + i * 2 * Z, job.weights.b_post, job.eps + at * Z,
                                job.mu + at * Z, job.log_sigma + at * Z, z, Z);
            copy(job.z + at * Z, z, Z);
        }
    }

    // The error image and what is read of it and of x (eqs. 3, 4).
    void look(long t, long i) {
        const float *x = a.x + i * size, *canvas = a.canvas + i * canvas_size;
        float *x_hat = a.x_hat[t] + i * size, *r = a.X[t] + i * row + job.r_at();
        for (long p = 0; p < size; p += LANES)
            store(x_hat + p, load(x + p) - mean.of(load(canvas + p)));  // eq. 3
        if (job.n_read) {
            Filters f(image, job.n_read, a.filters);
            read(f, a.out[t] + i * job.out() + job.read_params(), x, x_hat, r);
        } else {
            unpad(image, x_hat, r);  // eq. 17
        }
    }

    void decode_step(long t) {
        const long gates = 4 * hidden, Z = job.Z;
        if (!job.x)
            for (long i = 0; i < b; ++i)
                copy(a.X[t] + i * row + job.z_at(), job.z + (t * job.B + part.first + i) * Z, Z);
        job.product(b, gates, Z + hidden, a.X[t] + job.z_at(), row, job.transposed.W_dec,
                    gates + GAP, 0, a.dec[t], gates);
        for (long i = 0; i < b; ++i)
            lstm(a.dec[t] + i * gates, job.weights.b_dec, a.c_dec[t] + i * hidden,
                 a.c_dec[t + 1] + i * hidden, a.X[t + 1] + i * row + job.h_dec_at(),
                 hidden);  // eq. 7
        if (job.reads) record_reads(t);
        emit(t + 1);
        for (long i = 0; i < b; ++i)
            paint(a.out[t + 1] + i * job.out(), a.canvas + i * canvas_size);
    }

    void paint(const float* out, float* canvas) {  // eq. 8
        if (job.n_write) {
            Filters f(canvas_image, job.n_write, a.filters);
            write(f, out + job.write_params(), out, canvas);
        } else {
            const Image& c = canvas_image;
            for (long y = 0; y < c.rows(); ++y)  // eq. 18
                add(canvas + y * c.stride, out + y * c.width, c.width);
        }
    }

    void record(long t) {
        for (long i = 0; i < b; ++i) {
            const long at = t * job.B + part.first + i;
            unpad(canvas_image, a.canvas + i * canvas_size,
                  job.canvases + at * job.canvas_pixels());
            if (job.writes)
                copy(job.writes + at * 5, a.out[t + 1] + i * job.out() + job.write_params(), 5);
        }
    }

    void record_reads(long t) {
        for (long i = 0; i < b; ++i)
            copy(job.reads + (t * job.B + part.first + i) * 5,
                 a.out[t] + i * job.out() + job.read_params(), 5);
    }
};
