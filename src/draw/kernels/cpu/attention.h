// Selective attention, one image of the batch (paper 3.2, eqs. 19-29), and its gradients.
//
// Image rows are padded to `stride` floats, a multiple of 16, and filter rows likewise. The
// filters' padding is zero, so whatever stands in an image's padding takes no part.
#pragma once
#include "numbers.h"

struct Image {
    long channels, height, width, stride;  // stride: the padded width

    long rows() const { return channels * height; }
    long size() const { return rows() * stride; }
};

// The mean picture that a canvas stands for (`mean` of draw.likelihoods), and its slope there. What
// is cut off is 0 or 1 exactly, after x - (x - mean) too; the few canvases that end there without
// being cut count as cut off.
struct Mean {
    bool clamped;  // a line, cut off at black and white; else a sigmoid

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

const float LIMIT = 40;  // of the three logarithms, either way

inline float within(float log) { return log < -LIMIT ? -LIMIT : log > LIMIT ? LIMIT : log; }

inline Window window(const float* params, const Image& image, long n) {  // eq. 21
    const long larger = image.width > image.height ? image.width : image.height;
    return {
        (image.width + 1) / 2.f * (params[0] + 1),                               // eq. 22
        (image.height + 1) / 2.f * (params[1] + 1),                              // eq. 23
        (larger - 1.f) / (n > 1 ? n - 1.f : 1.f) * std::exp(within(params[3])),  // eq. 24
        std::exp(within(params[2])),
        std::exp(within(params[4])),
    };
}

// One filter, centred at mu: exp(-(a - mu)^2 / 2 sigma2) over the pixels a, made to sum to one.
// The largest exponent of a row is that of the pixel nearest to mu. Relative to it the exponent is
// -d (d + tail) / 2 sigma2 with d = a - nearest: nothing large is ever subtracted.
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

// F [N, stride] along one axis of `size` pixels.
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

// Adds to the gradients of the centre, of delta and of log sigma2 what dF brings.
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

// The filters of one image, and room for what is made on the way.
struct Filters {
    Image image;
    long n, columns, rows;  // patch size; padded width and height
    float *F_x, *F_y, *dF_x, *dF_y, *U, *R;
    Window w;

    static long room(const Image& image, long n) {
        return n * (4 * image.stride + 2 * padded(image.height));
    }

    Filters(const Image& image, long n, float* room)
        : image(image), n(n), columns(image.stride), rows(padded(image.height)) {
        F_x = room, dF_x = F_x + n * columns;
        F_y = dF_x + n * columns, dF_y = F_y + n * rows;
        U = dF_y + n * rows, R = U + n * columns;
    }

    void look(const float* params) {
        w = window(params, image, n);
        filterbank(w.g_x, w, n, image.width, F_x);
        filterbank(w.g_y, w, n, image.height, F_y);
    }

    // The five gradients, that of log gamma being there, from dF_x and dF_y.
    void backward(const float* params, float* d_params) const {
        float d_x = 0, d_y = 0, d_delta = 0, d_log_sigma2 = 0;
        filterbank_backward(w.g_x, w, n, image.width, F_x, dF_x, &d_x, &d_delta, &d_log_sigma2);
        filterbank_backward(w.g_y, w, n, image.height, F_y, dF_y, &d_y, &d_delta, &d_log_sigma2);
        d_params[0] = d_x * (image.width + 1) / 2.f;
        d_params[1] = d_y * (image.height + 1) / 2.f;
        d_params[2] = d_log_sigma2;
        d_params[3] = d_delta * w.delta;
        for (long k = 2; k < 5; ++k)
            if (within(params[k]) != params[k]) d_params[k] = 0;
    }
};

// U [N, stride] = F [N, rows] I, for one channel: sums over the image's rows.
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

// F_y^T A, for one channel: hands a vector of pixels at a time to `use`, with their place.
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

// r = gamma F_y I F_x^T for each channel of x, then of the error image (eqs. 4, 27).
inline void read(Filters& f, const float* params, const float* x, const float* x_hat, float* r) {
    const long pixels = f.image.height * f.image.stride, cells = f.n * f.n;
    f.look(params);
    for (const float* source : {x, x_hat})
        for (long c = 0; c < f.image.channels; ++c, r += cells) {
            filter_rows(f.F_y, source + c * pixels, f.image, f.n, f.U);
            filter_columns(f.U, f.F_x, f.n, f.image.stride, f.w.gamma, r);
        }
}

// From dr to the five parameters, and through x_hat = x - mean(c) to the canvas.
inline void read_backward(Filters& f, const float* params, const float* x, const float* x_hat,
                          const float* r, const float* dr, const Mean& mean, float* d_params,
                          float* d_canvas) {
    const Image image = f.image;
    const long n = f.n, stride = image.stride, cells = n * n, pixels = image.height * stride;
    f.look(params);
    clear(f.dF_x, n * f.columns);
    clear(f.dF_y, n * f.rows);
    d_params[4] = dot(r, dr, 2 * image.channels * cells);  // r is gamma times the rest
    for (const float* source : {x, x_hat})
        for (long c = 0; c < image.channels; ++c, dr += cells) {
            const float* I = source + c * pixels;
            filter_rows(f.F_y, I, image, n, f.U);
            gather(dr, f.U, n, stride, f.w.gamma, f.dF_x);
            spread(dr, f.F_x, n, stride, f.w.gamma, f.R);
            correlate(f.R, I, image, n, f.dF_y);
            if (source == x) continue;
            expand(f.F_y, f.R, image, n, [=](long at, vec d_x_hat) {
                at += c * pixels;
                const vec slope = mean.slope(load(x + at) - load(x_hat + at));
                store(d_canvas + at, load(d_canvas + at) - d_x_hat * slope);
            });
        }
    f.backward(params, d_params);
}

// canvas += F_y^T w F_x / gamma, for each channel (eqs. 8, 29).
inline void write(Filters& f, const float* params, const float* w, float* canvas) {
    const Image image = f.image;
    const long n = f.n, stride = image.stride, pixels = image.height * stride;
    f.look(params);
    for (long c = 0; c < image.channels; ++c, w += n * n, canvas += pixels) {
        spread(w, f.F_x, n, stride, 1 / f.w.gamma, f.U);
        expand(f.F_y, f.U, image, n,
               [=](long at, vec painted) { store(canvas + at, load(canvas + at) + painted); });
    }
}

// From the canvas's gradient to the patch and the five parameters.
inline void write_backward(Filters& f, const float* params, const float* w, const float* d_canvas,
                           float* d_w, float* d_params) {
    const Image image = f.image;
    const long n = f.n, stride = image.stride, cells = n * n, pixels = image.height * stride;
    f.look(params);
    clear(f.dF_x, n * f.columns);
    clear(f.dF_y, n * f.rows);
    const float scale = 1 / f.w.gamma;
    for (long c = 0; c < image.channels; ++c) {
        const float* D = d_canvas + c * pixels;
        filter_rows(f.F_y, D, image, n, f.U);
        filter_columns(f.U, f.F_x, n, stride, scale, d_w + c * cells);
        gather(w + c * cells, f.U, n, stride, scale, f.dF_x);
        spread(w + c * cells, f.F_x, n, stride, scale, f.R);
        correlate(f.R, D, image, n, f.dF_y);
    }
    d_params[4] = -dot(w, d_w, image.channels * cells);
    f.backward(params, d_params);
}
