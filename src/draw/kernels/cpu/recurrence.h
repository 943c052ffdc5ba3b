// The recurrence for one thread's part of the batch: T glimpses without a barrier, each function
// followed by its gradient.
#pragma once
#include "latent.h"
#include "layout.h"
#include "lstm.h"

struct Forward {
    const Job& job;
    const Weights& w;
    const Part part;
    Activations a;
    const Image image, canvas_image;
    const Mean mean;
    const long b, hidden, Z, gates, row, size, canvas_size;

    Forward(const Job& job, long k, Arena& arena)
        : job(job), w(job.weights), part(job.B, job.threads, k), a(job, arena, part.count), image(job.image()),
          canvas_image(job.canvas_image()), mean(job.mean()), b(part.count), hidden(job.hidden),
          Z(job.Z), gates(job.gates()), row(job.row()), size(image.size()),
          canvas_size(canvas_image.size()) {}

    static void pack_weights(const Job& job);
    void run();
    void start();
    void encode_step(long t);
    void read(long t, long i);
    void decode_step(long t);
    void emit(long t);
    void write(const float* out, float* canvas);
    void record_read(long t);
    void record_write(long t);

    // Index of image i at glimpse t in an array [T, B].
    long index(long t, long i) const { return t * job.B + part.first + i; }
};

struct Backward : Forward {
    Gradients g;
    const Weights d;  // this thread's gradients of the weights
    const long glimpses;  // gathered per product

    Backward(const Job& job, long k, Arena& arena)
        : Forward(job, k, arena), g(job, arena, part.count),
          d(job.gradients.shifted(k * job.gradient_stride)),
          glimpses(Gradients::gathered(job, b)) {}

    static void pack_weights(const Job& job);
    void run();
    void start_backward();
    void encode_step_backward(long t, long at);
    void sample_backward(long t, long i, float* d_post);
    void read_backward(long t, long i);
    void decode_step_backward(long t, long at);
    void write_backward(const float* out, const float* d_canvas, float* d_out);
    void add_weight_gradients(long t, long rows);
};

// ---------------------------------------------------------------- products in bfloat16

// The weights of the LSTMs hold nearly all of the arithmetic. The other layers, which define the
// windows and the latents, keep float32.
inline void Forward::pack_weights(const Job& job) {
    const long gates = job.gates(), stride = gates + GAP;
    if (job.x) pack(job.transposed.W_enc, stride, job.enc_inputs(), gates, PANEL, job.enc_panels());
    pack(job.transposed.W_dec, stride, job.dec_inputs(), gates, PANEL, job.dec_panels());
}

inline void Backward::pack_weights(const Job& job) {
    const long enc = job.enc_inputs(), dec = job.dec_inputs();
    pack(job.weights.W_enc, enc, job.gates(), enc, PANEL, job.enc_panels());
    pack(job.weights.W_dec, dec, job.gates(), dec, PANEL, job.dec_panels());
}

// ---------------------------------------------------------------- the loop

inline void Forward::run() {
    start();
    for (long t = 0; t < job.T; ++t) {
        if (job.x) encode_step(t);
        decode_step(t);
        if (job.canvases) record_write(t);
    }
    for (long i = 0; i < b; ++i)
        unpad(canvas_image, a.canvas + i * canvas_size,
              job.canvas + (part.first + i) * job.canvas_pixels());
}

inline void Backward::run() {
    clear(d.W_enc, job.gradient_stride);
    g.clear_carried();
    if (job.d_canvas)
        for (long i = 0; i < b; ++i)
            pad(canvas_image, job.d_canvas + (part.first + i) * job.canvas_pixels(),
                g.d_canvas + i * canvas_size);
    for (long end = job.T; end > 0; end -= glimpses) {
        const long begin = end > glimpses ? end - glimpses : 0;
        for (long t = end - 1; t >= begin; --t) {
            decode_step_backward(t, (t - begin) * b);
            encode_step_backward(t, (t - begin) * b);
        }
        add_weight_gradients(begin, (end - begin) * b);
    }
    start_backward();
}

// The learned initial state, which all images share, and the first read window.
inline void Forward::start() {
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

inline void Backward::start_backward() {
    const long at = job.read_at();
    if (job.n_read) {
        job.runtime.multiply(b, hidden, 5, {g.d_read, 5}, {w.W_out + at * hidden, hidden},
                             {g.dX + job.h_dec_at(), row}, 1);
        job.runtime.add_outer(5, hidden, b, {g.d_read, 5}, {a.X[0] + job.h_dec_at(), row},
                              {d.W_out + at * hidden, hidden}, false);
    }
    for (long i = 0; i < b; ++i) {
        const float* dX = g.dX + i * row;
        if (job.n_read) add(d.b_out + at, g.d_read + i * 5, 5);
        add(d.h_enc_0, dX + job.h_enc_at(), hidden);
        add(d.c_enc_0, g.d_c_enc + i * hidden, hidden);
        add(d.h_dec_0, dX + job.h_dec_at(), hidden);
        add(d.c_dec_0, g.d_c_dec + i * hidden, hidden);
        const Image& c = canvas_image;
        for (long y = 0; y < c.rows(); ++y)
            add(d.canvas_0 + y * c.width, g.d_canvas + i * canvas_size + y * c.stride, c.width);
    }
}

// ---------------------------------------------------------------- encode_step

inline void Forward::encode_step(long t) {
    for (long i = 0; i < b; ++i) read(t, i);
    job.runtime.multiply(b, gates, job.enc_inputs(), {a.X[t] + job.h_dec_at(), row},
                         {job.transposed.W_enc, gates + GAP, job.enc_panels()}, {a.enc[t], gates});
    for (long i = 0; i < b; ++i)
        lstm_forward(a.enc[t] + i * gates, w.b_enc + job.enc_bias(part.first + i),
                     a.c_enc[t] + i * hidden, a.c_enc[t + 1] + i * hidden,
                     a.X[t + 1] + i * row + job.h_enc_at(), hidden);  // eq. 5
    job.runtime.multiply(b, 2 * Z, hidden, {a.X[t + 1] + job.h_enc_at(), row},
                         {job.transposed.W_post, 2 * Z + GAP}, {a.post, 2 * Z});
    for (long i = 0; i < b; ++i) {
        const long at = index(t, i);
        float* z = a.X[t] + i * row + job.z_at();
        job.kl[at] = sample(a.post + i * 2 * Z, w.b_post, job.eps + at * Z, job.mu + at * Z,
                            job.log_sigma + at * Z, z, Z);
        copy(job.z + at * Z, z, Z);
    }
}

// `at`: the index of this glimpse's first row among the gathered rows.
inline void Backward::encode_step_backward(long t, long at) {
    float *d_post = g.d_post + at * 2 * Z, *d_enc = g.d_enc + at * gates;
    for (long i = 0; i < b; ++i) {
        sample_backward(t, i, d_post + i * 2 * Z);
        add(d.b_post, d_post + i * 2 * Z, 2 * Z);
    }
    job.runtime.multiply(b, hidden, 2 * Z, {d_post, 2 * Z}, {w.W_post, hidden},
                         {g.dX + job.h_enc_at(), row}, 1);
    for (long i = 0; i < b; ++i) {
        float* dX = g.dX + i * row;
        lstm_backward(a.enc[t] + i * gates, a.c_enc[t] + i * hidden, a.c_enc[t + 1] + i * hidden,
                      dX + job.h_enc_at(), g.d_c_enc + i * hidden, d_enc + i * gates, hidden);
        add(d.b_enc + job.enc_bias(part.first + i), d_enc + i * gates, gates);
        clear(dX + job.r_at(), job.r() + hidden);  // the product adds to the part of h_dec
    }
    job.runtime.multiply(b, job.enc_inputs(), gates, {d_enc, gates},
                         {w.W_enc, job.enc_inputs(), job.enc_panels()},
                         {g.dX + job.h_dec_at(), row}, 1);
    for (long i = 0; i < b; ++i) read_backward(t, i);
}

inline void Backward::sample_backward(long t, long i, float* d_post) {
    const long at = index(t, i);
    float* d_z = g.dX + i * row + job.z_at();
    if (job.d_z) add(d_z, job.d_z + at * Z, Z);
    ::sample_backward(job.mu + at * Z, job.log_sigma + at * Z, a.X[t] + i * row + job.z_at(), d_z,
                      job.d_kl ? job.d_kl[at] : 0, d_post, Z);
    if (job.d_mu) add(d_post, job.d_mu + at * Z, Z);
    if (job.d_log_sigma) add(d_post + Z, job.d_log_sigma + at * Z, Z);
}

// The error image, and the patches of x and of the error image (eqs. 3, 4).
inline void Forward::read(long t, long i) {
    const float *x = a.x + i * size, *canvas = a.canvas + i * canvas_size;
    float *x_hat = a.x_hat[t] + i * size, *r = a.X[t] + i * row + job.r_at();
    for (long p = 0; p < size; p += LANES)
        store(x_hat + p, mean.error(load(x + p), load(canvas + p)));
    if (job.n_read) {
        const Filters f(image, job.n_read, a.out[t] + i * job.out() + job.read_at(), a.filters);
        read_glimpse(f, x, r);
        read_glimpse(f, x_hat, r + job.C * f.cells());
    } else {
        unpad(image, x_hat, r);  // eq. 17
    }
}

// To the read window, and through the error image to the canvas.
inline void Backward::read_backward(long t, long i) {
    const float *x = a.x + i * size, *x_hat = a.x_hat[t] + i * size;
    const float *r = a.X[t] + i * row + job.r_at(), *dr = g.dX + i * row + job.r_at();
    float* d_canvas = g.d_canvas + i * canvas_size;
    if (job.n_read) {
        const float* params = a.out[t] + i * job.out() + job.read_at();
        Filters f(image, job.n_read, params, a.filters);
        f.clear_gradients();
        read_glimpse_backward(f, x, dr, NoGradient());
        read_glimpse_backward(f, x_hat, dr + job.C * f.cells(), [=](long at, vec d_x_hat) {
            const vec slope = mean.error_slope(load(x + at), load(x_hat + at));
            store(d_canvas + at, load(d_canvas + at) + d_x_hat * slope);
        });
        f.backward(params, dot(r, dr, job.r()), g.d_read + i * 5);  // r is proportional to gamma
    } else {
        for (long y = 0; y < image.rows(); ++y)
            for (long p = 0; p < image.width; ++p) {
                const long at = y * image.stride + p;
                d_canvas[at] += dr[y * image.width + p] * mean.error_slope(x[at], x_hat[at]);
            }
    }
}

// ---------------------------------------------------------------- decode_step

inline void Forward::decode_step(long t) {
    if (!job.x)
        for (long i = 0; i < b; ++i)
            copy(a.X[t] + i * row + job.z_at(), job.z + index(t, i) * Z, Z);
    job.runtime.multiply(b, gates, job.dec_inputs(), {a.X[t] + job.z_at(), row},
                         {job.transposed.W_dec, gates + GAP, job.dec_panels()}, {a.dec[t], gates});
    for (long i = 0; i < b; ++i)
        lstm_forward(a.dec[t] + i * gates, w.b_dec, a.c_dec[t] + i * hidden,
                     a.c_dec[t + 1] + i * hidden, a.X[t + 1] + i * row + job.h_dec_at(),
                     hidden);  // eq. 7
    if (job.read_params) record_read(t);
    emit(t + 1);
    for (long i = 0; i < b; ++i)
        write(a.out[t + 1] + i * job.out(), a.canvas + i * canvas_size);
}

inline void Backward::decode_step_backward(long t, long at) {
    const long n = job.out();
    float *d_out = g.d_out + at * n, *d_dec = g.d_dec + at * gates;
    for (long i = 0; i < b; ++i) {
        write_backward(a.out[t + 1] + i * n, g.d_canvas + i * canvas_size, d_out + i * n);
        if (job.n_read) copy(d_out + i * n + job.read_at(), g.d_read + i * 5, 5);
        add(d.b_out, d_out + i * n, n);
    }
    job.runtime.multiply(b, hidden, n, {d_out, n}, {w.W_out, hidden},
                         {g.dX + job.h_dec_at(), row}, 1);
    for (long i = 0; i < b; ++i) {
        lstm_backward(a.dec[t] + i * gates, a.c_dec[t] + i * hidden, a.c_dec[t + 1] + i * hidden,
                      g.dX + i * row + job.h_dec_at(), g.d_c_dec + i * hidden, d_dec + i * gates,
                      hidden);
        add(d.b_dec, d_dec + i * gates, gates);
    }
    job.runtime.multiply(b, job.dec_inputs(), gates, {d_dec, gates},
                         {w.W_dec, job.dec_inputs(), job.dec_panels()},
                         {g.dX + job.z_at(), row});
}

// The linear layers on h_dec_{t-1}: patch and write window of glimpse t - 1, read window of t.
inline void Forward::emit(long t) {
    const long n = job.out();
    job.runtime.multiply(b, n, hidden, {a.X[t] + job.h_dec_at(), row},
                         {job.transposed.W_out, n + GAP}, {a.out[t], n});
    for (long i = 0; i < b; ++i) add(a.out[t] + i * n, w.b_out, n);
}

inline void Forward::write(const float* out, float* canvas) {  // eq. 8
    if (job.n_write) {
        const Filters f(canvas_image, job.n_write, out + job.write_at(), a.filters);
        write_canvas(f, out, canvas);
    } else {
        const Image& c = canvas_image;
        for (long y = 0; y < c.rows(); ++y)  // eq. 18
            add(canvas + y * c.stride, out + y * c.width, c.width);
    }
}

inline void Backward::write_backward(const float* out, const float* d_canvas, float* d_out) {
    if (job.n_write) {
        const float* params = out + job.write_at();
        Filters f(canvas_image, job.n_write, params, a.filters);
        f.clear_gradients();
        write_canvas_backward(f, out, d_canvas, d_out);
        f.backward(params, -dot(out, d_out, job.w()), d_out + job.write_at());
    } else {
        unpad(canvas_image, d_canvas, d_out);
    }
}

// ---------------------------------------------------------------- weights and records

// Adds the contributions of `rows` gathered rows, the first of them of glimpse t.
inline void Backward::add_weight_gradients(long t, long rows) {
    const long n = job.out();
    const float *X = a.X[t], *next = a.X[t + 1];
    const bool reduced = job.panels;
    job.runtime.add_outer(gates, job.enc_inputs(), rows, {g.d_enc, gates},
                          {X + job.h_dec_at(), row}, {d.W_enc, job.enc_inputs()}, reduced);
    job.runtime.add_outer(gates, job.dec_inputs(), rows, {g.d_dec, gates}, {X + job.z_at(), row},
                          {d.W_dec, job.dec_inputs()}, reduced);
    job.runtime.add_outer(2 * Z, hidden, rows, {g.d_post, 2 * Z}, {next + job.h_enc_at(), row},
                          {d.W_post, hidden}, reduced);
    job.runtime.add_outer(n, hidden, rows, {g.d_out, n}, {next + job.h_dec_at(), row},
                          {d.W_out, hidden}, reduced);
}

inline void Forward::record_read(long t) {
    for (long i = 0; i < b; ++i)
        copy(job.read_params + index(t, i) * 5, a.out[t] + i * job.out() + job.read_at(), 5);
}

inline void Forward::record_write(long t) {
    for (long i = 0; i < b; ++i) {
        const long at = index(t, i);
        unpad(canvas_image, a.canvas + i * canvas_size, job.canvases + at * job.canvas_pixels());
        if (job.write_params)
            copy(job.write_params + at * 5, a.out[t + 1] + i * job.out() + job.write_at(), 5);
    }
}
