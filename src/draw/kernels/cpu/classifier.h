// The glimpse classifier for one thread's part of the batch: T glimpses without a barrier, each
// function followed by its gradient. One row holds the inputs of the LSTM, X_t = [r_t | h_{t-1}].
#pragma once
#include "attention.h"
#include "lstm.h"
#include "runtime.h"

namespace classifier {

// Parameters or their gradients.
struct Weights {
    float *W, *b;                // [4 hidden, r + hidden]
    float *W_window, *b_window;  // [5, hidden]
    float *h_0, *c_0;

    Weights shifted(long by) const {
        return {W + by, b + by, W_window + by, b_window + by, h_0 + by, c_0 + by};
    }
};

// Mirrored by `ClassifierJob` in classifier.py, field by field.
struct Job {
    int64_t T, B, C, H, W, hidden, n, threads, keep;
    Runtime runtime;
    Weights weights, transposed;
    Pair* panels;  // W in bfloat16; null for products in float32
    const float* x;
    float *workspace, *h, *params;           // h_t [T, B, hidden], window parameters [T, B, 5]
    const float *d_h, *d_params, *max_norm;  // max_norm [B]: limit on the gradient of each window
    Weights gradients;  // the first thread's; thread k adds k * gradient_stride
    int64_t gradient_stride;

    Image image() const { return {C, H, W, padded(W)}; }
    long gates() const { return 4 * hidden; }
    long r() const { return C * n * n; }
    long inputs() const { return r() + hidden; }
    long row() const { return padded(inputs()); }
    long U() const { return C * n * padded(W); }
    long panels_total() const { return max_panels_size(inputs(), gates()); }
};

struct Activations {
    float *x, *pixels, *filters;
    PerGlimpse X, gates, c, U;

    Activations(const Job& job, Arena& arena, long b)
        : x(arena.take(b * job.image().size())),
          pixels(arena.take(b * job.C * Sparse::room(job.image()))),
          filters(arena.take(Filters::room(job.image(), job.n))),
          X(arena, job.T + 1, b * job.row(), job.keep),
          gates(arena, job.T, b * job.gates(), job.keep),  // after their activation
          c(arena, job.T + 1, b * job.hidden, job.keep),
          U(arena, job.T, b * job.U(), job.keep) {}  // F_y x, see attention.h
};

struct Gradients {
    float *dX, *d_c;            // carried from glimpse to glimpse
    float *d_gates, *d_params;  // of all glimpses, for one product per weight

    Gradients(const Job& job, Arena& arena, long b)
        : dX(arena.take(b * job.row())), d_c(arena.take(b * job.hidden)),
          d_gates(arena.take(job.T * b * job.gates())), d_params(arena.take(job.T * b * 5)) {}
};

struct Forward {
    const Job& job;
    const Weights& w;
    const Part part;
    Activations a;
    const Image image;
    const long b, hidden, r, row;

    Forward(const Job& job, long k, Arena& arena)
        : job(job), w(job.weights), part(job.B, job.threads, k), a(job, arena, part.count),
          image(job.image()), b(part.count), hidden(job.hidden), r(job.r()), row(job.row()) {}

    // The value of image i at glimpse t in an array [T, B, size].
    template <class F> F* at(F* array, long t, long i, long size) const {
        return array + (t * job.B + part.first + i) * size;
    }

    const float* channel(long i, long c) const {
        return a.x + i * image.size() + c * image.height * image.stride;
    }

    Sparse pixels(long i, long c) const {
        return {image, a.pixels + (i * job.C + c) * Sparse::room(image)};
    }

    // F_y x for one channel, which the gradient needs again.
    float* U(long t, long i, long c) const { return a.U[t] + i * job.U() + c * job.n * image.stride; }

    static void pack_weights(const Job& job) {
        pack(job.transposed.W, job.gates() + GAP, job.inputs(), job.gates(), PANEL, job.panels);
    }
    void start();
    void encode_step(long t);
    void read(const Filters& f, long t, long i, float* r) const;

    void run() {
        start();
        for (long t = 0; t < job.T; ++t) encode_step(t);
    }
};

struct Backward : Forward {
    Gradients g;
    const Weights d;  // this thread's gradients of the weights

    Backward(const Job& job, long k, Arena& arena)
        : Forward(job, k, arena), g(job, arena, part.count),
          d(job.gradients.shifted(k * job.gradient_stride)) {}

    static void pack_weights(const Job& job) {
        pack(job.weights.W, job.inputs(), job.gates(), job.inputs(), PANEL, job.panels);
    }
    void start_backward();
    void encode_step_backward(long t);
    void read_backward(const Filters& f, long t, long i, const float* dr) const;
    void limit(float* d_params, long i) const;
    void add_weight_gradients();

    void run() {
        clear(d.W, job.gradient_stride);
        clear(g.dX, b * row);
        clear(g.d_c, b * hidden);
        for (long t = job.T - 1; t >= 0; --t) encode_step_backward(t);
        add_weight_gradients();
        start_backward();
    }
};

// The learned initial state, which all images share.
inline void Forward::start() {
    for (long i = 0; i < b; ++i) {
        pad(image, job.x + (part.first + i) * job.C * job.H * job.W, a.x + i * image.size());
        for (long c = 0; c < job.C; ++c) pixels(i, c).find(channel(i, c));
        copy(a.X[0] + i * row + r, w.h_0, hidden);
        copy(a.c[0] + i * hidden, w.c_0, hidden);
    }
}

inline void Backward::start_backward() {
    for (long i = 0; i < b; ++i) {
        add(d.h_0, g.dX + i * row + r, hidden);
        add(d.c_0, g.d_c + i * hidden, hidden);
    }
}

inline void Forward::encode_step(long t) {
    for (long i = 0; i < b; ++i) {
        float *X = a.X[t] + i * row, *params = at(job.params, t, i, 5);
        for (long k = 0; k < 5; ++k)
            params[k] = w.b_window[k] + dot(X + r, w.W_window + k * hidden, hidden);  // eq. 21
        read(Filters(image, job.n, params, a.filters), t, i, X);
    }
    job.runtime.multiply(b, job.gates(), job.inputs(), {a.X[t], row},
                         {job.transposed.W, job.gates() + GAP, job.panels}, {a.gates[t], job.gates()});
    for (long i = 0; i < b; ++i) {
        float* h = a.X[t + 1] + i * row + r;
        lstm_forward(a.gates[t] + i * job.gates(), w.b, a.c[t] + i * hidden,
                     a.c[t + 1] + i * hidden, h, hidden);
        copy(at(job.h, t, i, hidden), h, hidden);
    }
}

inline void Backward::encode_step_backward(long t) {
    float* d_gates = g.d_gates + t * b * job.gates();
    for (long i = 0; i < b; ++i) {
        float* dh = g.dX + i * row + r;
        if (job.d_h) add(dh, at(job.d_h, t, i, hidden), hidden);
        lstm_backward(a.gates[t] + i * job.gates(), a.c[t] + i * hidden, a.c[t + 1] + i * hidden,
                      dh, g.d_c + i * hidden, d_gates + i * job.gates(), hidden);
    }
    job.runtime.multiply(b, job.inputs(), job.gates(), {d_gates, job.gates()},
                         {w.W, job.inputs(), job.panels}, {g.dX, row});
    for (long i = 0; i < b; ++i) {
        const float *params = at(job.params, t, i, 5), *X = a.X[t] + i * row;
        float *dX = g.dX + i * row, *d_params = g.d_params + (t * b + i) * 5;
        Filters f(image, job.n, params, a.filters);
        f.clear_gradients();
        read_backward(f, t, i, dX);
        f.backward(params, dot(X, dX, r), d_params);  // r is proportional to gamma
        if (job.d_params) add(d_params, at(job.d_params, t, i, 5), 5);
        if (job.max_norm) limit(d_params, i);
        for (long k = 0; k < 5; ++k) {
            const float* W = w.W_window + k * hidden;
#pragma omp simd
            for (long j = 0; j < hidden; ++j) dX[r + j] += d_params[k] * W[j];
        }
    }
}

// As read_glimpse and read_glimpse_backward, for pixels that are mostly zero.
inline void Forward::read(const Filters& f, long t, long i, float* r) const {
    for (long c = 0; c < job.C; ++c, r += f.cells()) {
        filter_rows(f, channel(i, c), pixels(i, c), U(t, i, c));
        filter_columns(f, U(t, i, c), f.window.gamma, r);  // eq. 27
    }
}

inline void Backward::read_backward(const Filters& f, long t, long i, const float* dr) const {
    for (long c = 0; c < job.C; ++c, dr += f.cells()) {
        gather(f, dr, U(t, i, c), f.window.gamma);
        spread(f, dr, f.window.gamma, f.R);
        correlate(f, channel(i, c), pixels(i, c));
    }
}

// Shortens the gradient of a window to the limit of its image.
inline void Backward::limit(float* d_params, long i) const {
    const float norm = std::sqrt(dot(d_params, d_params, 5)), max_norm = job.max_norm[part.first + i];
    if (norm > max_norm)
        for (long k = 0; k < 5; ++k) d_params[k] *= max_norm / norm;
}

inline void Backward::add_weight_gradients() {
    const long rows = job.T * b, gates = job.gates(), n = job.inputs();
    job.runtime.add_outer(gates, n, rows, {g.d_gates, gates}, {a.X[0], row}, {d.W, n},
                          job.panels);
    job.runtime.add_outer(5, hidden, rows, {g.d_params, 5}, {a.X[0] + r, row},
                          {d.W_window, hidden}, false);
    for (long i = 0; i < rows; ++i) {
        add(d.b, g.d_gates + i * gates, gates);
        add(d.b_window, g.d_params + i * 5, 5);
    }
}

}  // namespace classifier
