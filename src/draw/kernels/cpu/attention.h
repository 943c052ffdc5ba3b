// Selective attention and its gradients, for one image of the batch (paper 3.2, eqs. 19-29).
//
// Rows of images and of filters are padded to `stride` floats, a multiple of 16. The padding of
// the filters is zero, so that the padding of the images does not affect any result.
#pragma once
#include <type_traits>

#include "numbers.h"

struct Image {
    long channels, height, width, stride;  // stride: the padded width

    long rows() const { return channels * height; }
    long size() const { return rows() * stride; }
};

// The mean image of a canvas (`mean` of draw.likelihoods) and its derivative, as a function of the
// mean. A clamped mean is exactly 0 or 1, even after x - (x - mean); the rare values that are 0
// or 1 without clamping are treated as clamped.
struct Mean {
    bool clamped;  // linear and clamped to [0, 1], instead of a sigmoid

    template <class F> F of(F canvas) const {
        if (!clamped) return sigmoid(canvas);
        const F line = 0.5f + canvas * 0.25f;
        return line < all<F>(0.f) ? all<F>(0.f) : line > all<F>(1.f) ? all<F>(1.f) : line;
    }

    template <class F> F slope(F mean) const {
        if (!clamped) return mean * (1.f - mean);
        return (mean > all<F>(0.f)) & (mean < all<F>(1.f)) ? all<F>(0.25f) : all<F>(0.f);
    }
};

struct Window {
    float g_x, g_y, delta, sigma2, gamma;
};

constexpr float MAX_LOG = 40;  // bound on |log sigma^2|, |log delta~| and |log gamma|

inline float limited(float log) {
    return log < -MAX_LOG ? -MAX_LOG : log > MAX_LOG ? MAX_LOG : log;
}

inline Window window_from(const float* params, const Image& image, long n) {  // eq. 21
    const long larger = image.width > image.height ? image.width : image.height;
    return {
        (image.width + 1) / 2.f * (params[0] + 1),                               // eq. 22
        (image.height + 1) / 2.f * (params[1] + 1),                              // eq. 23
        (larger - 1.f) / (n > 1 ? n - 1.f : 1.f) * std::exp(limited(params[3])),  // eq. 24
        std::exp(limited(params[2])),
        std::exp(limited(params[4])),
    };
}

// One filter, centred at mu: exp(-(a - mu)^2 / 2 sigma2) over the pixels a, normalised to sum 1.
// The largest exponent of a row is that of the pixel nearest to mu. Relative to it the exponent is
// -d (d + tail) / 2 sigma2 with d = a - nearest, which never subtracts two large numbers.
struct Filter {
    float nearest, tail, sigma2;

    Filter(float mu, float sigma2, long size) : sigma2(sigma2) {
        nearest = mu < 1 ? 1.f : mu > size ? float(size) : std::nearbyint(mu);
        tail = 2 * (nearest - mu);
    }

    vec distance(long first) const {
        static const float pixels[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
        return load(pixels) + (first - nearest);
    }
};

inline float offset(long i, long n) { return i + 1 - n / 2.f - 0.5f; }  // eq. 19, for i from 0

// The filters F [N, stride] along one axis of `size` pixels (eqs. 19, 20, 25, 26).
inline void filterbank(float g, const Window& w, long n, long size, float* F) {
    const long stride = padded(size);
    for (long i = 0; i < n; ++i, F += stride) {
        const Filter filter(g + w.delta * offset(i, n), w.sigma2, size);
        const float scale = -0.5f / w.sigma2;
        vec total = {};
        for (long a = 0; a < stride; a += LANES) {
            const vec d = filter.distance(a);
            const vec exponent = d * (d + filter.tail) * scale;  // eq. 25
            vec f = exponent < all<vec>(-60) ? all<vec>(0) : exponential(exponent);
            f = d + filter.nearest > all<vec>(size) ? all<vec>(0) : f;
            total += f;
            store(F + a, f);
        }
        const float norm = 1 / sum(total);
        for (long a = 0; a < stride; a += LANES) store(F + a, load(F + a) * norm);
    }
}

// Adds the contributions of dF to the gradients of the centre, delta and log sigma2.
inline void filterbank_backward(float g, const Window& w, long n, long size, const float* F,
                                const float* dF, float* d_g, float* d_delta, float* d_log_sigma2) {
    const long stride = padded(size);
    for (long i = 0; i < n; ++i, F += stride, dF += stride) {
        const Filter filter(g + w.delta * offset(i, n), w.sigma2, size);
        vec mean = {}, first = {}, second = {};
        for (long a = 0; a < stride; a += LANES) mean += load(F + a) * load(dF + a);
        const float centre = sum(mean);
        for (long a = 0; a < stride; a += LANES) {
            const vec d = filter.distance(a);
            const vec d_exponent = load(F + a) * (load(dF + a) - centre);  // softmax
            first += d_exponent * d;
            second += d_exponent * d * (d + filter.tail);
        }
        const float d_mu = sum(first) / w.sigma2;
        *d_g += d_mu;
        *d_delta += d_mu * offset(i, n);
        *d_log_sigma2 += sum(second) / (2 * w.sigma2);
    }
}

// The filters of a window on an image; `room` holds them, their gradients and intermediate values.
struct Filters {
    Image image;
    long n, columns, rows;  // patch size; padded width and height
    Window window;
    float *F_x, *F_y, *dF_x, *dF_y, *U, *R;

    static long room(const Image& image, long n) {
        return n * (4 * image.stride + 2 * padded(image.height));
    }

    Filters(const Image& image, long n, const float* params, float* room)
        : image(image), n(n), columns(image.stride), rows(padded(image.height)),
          window(window_from(params, image, n)) {
        F_x = room, dF_x = F_x + n * columns;
        F_y = dF_x + n * columns, dF_y = F_y + n * rows;
        U = dF_y + n * rows, R = U + n * columns;
        filterbank(window.g_x, window, n, image.width, F_x);
        filterbank(window.g_y, window, n, image.height, F_y);
    }

    long cells() const { return n * n; }
    long pixels() const { return image.height * image.stride; }

    void clear_gradients() {
        clear(dF_x, n * columns);
        clear(dF_y, n * rows);
    }

    // Computes the gradients of the five parameters from dF_x, dF_y and that of log gamma.
    void backward(const float* params, float d_log_gamma, float* d_params) const {
        const Window& w = window;
        float d_x = 0, d_y = 0, d_delta = 0, d_log_sigma2 = 0;
        filterbank_backward(w.g_x, w, n, image.width, F_x, dF_x, &d_x, &d_delta, &d_log_sigma2);
        filterbank_backward(w.g_y, w, n, image.height, F_y, dF_y, &d_y, &d_delta, &d_log_sigma2);
        d_params[0] = d_x * (image.width + 1) / 2.f;
        d_params[1] = d_y * (image.height + 1) / 2.f;
        d_params[2] = d_log_sigma2;
        d_params[3] = d_delta * w.delta;
        d_params[4] = d_log_gamma;
        for (long k = 2; k < 5; ++k)
            if (limited(params[k]) != params[k]) d_params[k] = 0;
    }
};

// U [N, stride] = F [N, rows] I, for one channel.
inline void filter_rows(const float* F, const float* I, const Image& image, long n, float* U) {
    const long height = image.height, ld = padded(height), stride = image.stride;
    for (long j = 0; j < n; ++j, F += ld, U += stride)
        for (long a = 0; a < stride; a += LANES) {
            vec total = {};
            for (long y = 0; y < height; ++y) total += F[y] * load(I + y * stride + a);
            store(U + a, total);
        }
}

// out [N, N] = scale U F^T, both with rows of `stride`.
inline void filter_columns(const float* U, const float* F, long n, long stride, float scale,
                           float* out) {
    for (long j = 0; j < n; ++j, U += stride)
        for (long i = 0; i < n; ++i) {
            vec total = {};
            for (long a = 0; a < stride; a += LANES)
                total += load(U + a) * load(F + i * stride + a);
            *out++ = scale * sum(total);
        }
}

// A [N, stride] = scale P F_x, for one channel's patch P [N, N].
inline void spread(const float* P, const float* F, long n, long stride, float scale, float* A) {
    for (long j = 0; j < n; ++j, P += n, A += stride)
        for (long a = 0; a < stride; a += LANES) {
            vec total = {};
            for (long i = 0; i < n; ++i) total += P[i] * load(F + i * stride + a);
            store(A + a, scale * total);
        }
}

// dF [N, stride] += scale P^T U.
inline void gather(const float* P, const float* U, long n, long stride, float scale, float* dF) {
    for (long i = 0; i < n; ++i, ++P, dF += stride)
        for (long a = 0; a < stride; a += LANES) {
            vec total = {};
            for (long j = 0; j < n; ++j) total += P[j * n] * load(U + j * stride + a);
            store(dF + a, load(dF + a) + scale * total);
        }
}

// dF_y [N, rows] += A I^T, for one channel.
inline void correlate(const float* A, const float* I, const Image& image, long n, float* dF) {
    const long height = image.height, ld = padded(height), stride = image.stride;
    for (long j = 0; j < n; ++j, A += stride, dF += ld)
        for (long y = 0; y < height; ++y) {
            vec total = {};
            for (long a = 0; a < stride; a += LANES)
                total += load(A + a) * load(I + y * stride + a);
            dF[y] += sum(total);
        }
}

// F_y^T A, for one channel: passes each vector of pixels to `use`, with its offset.
template <class Use>
inline void expand(const float* F, const float* A, const Image& image, long n, Use use) {
    const long height = image.height, ld = padded(height), stride = image.stride;
    for (long y = 0; y < height; ++y)
        for (long a = 0; a < stride; a += LANES) {
            vec total = {};
            for (long j = 0; j < n; ++j) total += F[j * ld + y] * load(A + j * stride + a);
            use(y * stride + a, total);
        }
}

inline float dot(const float* a, const float* b, long n) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (long k = 0; k < n; ++k) total += a[k] * b[k];
    return total;
}

// r = gamma F_y I F_x^T for each channel I of an image (eq. 27).
inline void read_glimpse(const Filters& f, const float* image, float* r) {
    for (long c = 0; c < f.image.channels; ++c, image += f.pixels(), r += f.cells()) {
        filter_rows(f.F_y, image, f.image, f.n, f.U);
        filter_columns(f.U, f.F_x, f.n, f.image.stride, f.window.gamma, r);
    }
}

struct NoGradient {};  // in place of `use`, for an image that needs no gradient

// Adds to dF_x and dF_y, and passes each vector of the image's gradient to `use`, with its offset.
template <class Use>
inline void read_glimpse_backward(const Filters& f, const float* image, const float* dr, Use use) {
    const long n = f.n, stride = f.image.stride;
    for (long c = 0; c < f.image.channels; ++c, image += f.pixels(), dr += f.cells()) {
        filter_rows(f.F_y, image, f.image, n, f.U);
        gather(dr, f.U, n, stride, f.window.gamma, f.dF_x);
        spread(dr, f.F_x, n, stride, f.window.gamma, f.R);
        correlate(f.R, image, f.image, n, f.dF_y);
        if constexpr (!std::is_same_v<Use, NoGradient>) {
            const long channel = c * f.pixels();
            expand(f.F_y, f.R, f.image, n, [=](long at, vec d) { use(channel + at, d); });
        }
    }
}

// canvas += F_y^T w F_x / gamma, for each channel (eqs. 8, 29).
inline void write_canvas(const Filters& f, const float* w, float* canvas) {
    for (long c = 0; c < f.image.channels; ++c, w += f.cells(), canvas += f.pixels()) {
        spread(w, f.F_x, f.n, f.image.stride, 1 / f.window.gamma, f.U);
        expand(f.F_y, f.U, f.image, f.n,
               [=](long at, vec written) { store(canvas + at, load(canvas + at) + written); });
    }
}

// Computes the gradient of the patch and adds to dF_x and dF_y.
inline void write_canvas_backward(const Filters& f, const float* w, const float* d_canvas,
                                  float* d_w) {
    const long n = f.n, stride = f.image.stride;
    const float scale = 1 / f.window.gamma;
    for (long c = 0; c < f.image.channels; ++c) {
        filter_rows(f.F_y, d_canvas, f.image, n, f.U);
        filter_columns(f.U, f.F_x, n, stride, scale, d_w);
        gather(w, f.U, n, stride, scale, f.dF_x);
        spread(w, f.F_x, n, stride, scale, f.R);
        correlate(f.R, d_canvas, f.image, n, f.dF_y);
        w += f.cells(), d_w += f.cells(), d_canvas += f.pixels();
    }
}
