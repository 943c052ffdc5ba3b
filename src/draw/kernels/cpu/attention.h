// Selective attention and its gradients, for one image of the batch (section 3.2, eqs. 19-29).
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

// Add and remove the padding of image rows.
inline void pad(const Image& image, const float* from, float* to) {
    for (long y = 0; y < image.rows(); ++y, from += image.width, to += image.stride) {
        copy(to, from, image.width);
        clear(to + image.width, image.stride - image.width);
    }
}

inline void unpad(const Image& image, const float* from, float* to) {
    for (long y = 0; y < image.rows(); ++y, from += image.stride, to += image.width)
        copy(to, from, image.width);
}

// The mean image of a canvas (`mean` of draw.likelihoods), the error image, and the derivatives of
// both with respect to the canvas. A clamped mean is exactly 0 or 1, even after x - (x - mean); the
// rare values that are 0 or 1 without clamping are treated as clamped.
struct Mean {
    bool clamped;  // linear and clamped to [0, 1], instead of a sigmoid
    float error_scale;  // a power of two

    template <class F> F of(F canvas) const {
        if (!clamped) return sigmoid(canvas);
        const F line = 0.5f + canvas * 0.25f;
        return line < all<F>(0.f) ? all<F>(0.f) : line > all<F>(1.f) ? all<F>(1.f) : line;
    }

    template <class F> F slope(F mean) const {
        if (!clamped) return mean * (1.f - mean);
        return (mean > all<F>(0.f)) & (mean < all<F>(1.f)) ? all<F>(0.25f) : all<F>(0.f);
    }

    template <class F> F error(F x, F canvas) const {  // eq. 3
        return all<F>(error_scale) * (x - of(canvas));
    }

    template <class F> F error_slope(F x, F x_hat) const {
        return all<F>(-error_scale) * slope(x - all<F>(1 / error_scale) * x_hat);
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

// A range of pixels along one axis, in whole vectors.
struct Span {
    long begin, end;

    // The pixels that the filters F [N, stride] weigh; a sharp window covers a small part.
    static Span of(const float* F, long n, long stride) {
        const auto is_used = [=](long a) {
            vec total = {};
            for (long i = 0; i < n; ++i) total += load(F + i * stride + a);
            return sum(total) != 0;  // NaN counts as used
        };
        Span span{0, stride};
        while (span.begin + LANES < span.end && !is_used(span.begin)) span.begin += LANES;
        while (span.begin + LANES < span.end && !is_used(span.end - LANES)) span.end -= LANES;
        return span;
    }

    Span within(long size) const { return {begin, end < size ? end : size}; }
};

// The filters of a window on an image; `room` holds them, their gradients and intermediate values.
struct Filters {
    Image image;
    long n, columns, rows;  // patch size; padded width and height
    Window window;
    float *F_x, *F_y, *dF_x, *dF_y, *U, *R;  // U and R hold the columns `across` only
    Span across, down;                       // the pixels that F_x and F_y weigh

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
        across = Span::of(F_x, n, columns);
        down = Span::of(F_y, n, rows).within(image.height);
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

// Calls f(first, count) for blocks of n filters, so that f can hold a sum for each filter of a block
// in a register and load each pixel once.
template <long N = 8, class F> inline void in_blocks(long n, F f, long first = 0) {
    for (; first + N <= n; first += N) f(first, std::integral_constant<long, N>());
    if constexpr (N > 1) in_blocks<N / 2>(n, f, first);
}

// All pixels of a channel, row by row and column by column.
struct Dense {
    template <class F> void each_row(long, Span down, F f) const {
        for (long y = down.begin; y < down.end; ++y) f(y);
    }
    template <class F> void each_column(long, Span across, F f) const {
        for (long a = across.begin; a < across.end; a += LANES) f(a);
    }
};

// The vectors of pixels of a channel that are not zero: the other ones add nothing to a product.
// Lists of rows y for each column of vectors a, and of columns for each row, ended by END.
struct Sparse {
    static constexpr short END = 32767;
    short *rows, *columns;
    long height, stride;

    static long room(const Image& image) {  // of one channel, in floats
        const long vectors = image.stride / LANES;
        return padded((vectors * (image.height + 1) + image.height * (vectors + 1)) / 2 + 1);
    }

    Sparse(const Image& image, float* room)
        : rows(reinterpret_cast<short*>(room)),
          columns(rows + image.stride / LANES * (image.height + 1)), height(image.height),
          stride(image.stride) {}

    short* rows_of(long a) const { return rows + a / LANES * (height + 1); }
    short* columns_of(long y) const { return columns + y * (stride / LANES + 1); }

    void find(const float* I) {
        for (long y = 0; y < height; ++y) *columns_of(y) = END;
        for (long a = 0; a < stride; a += LANES) {
            short* row = rows_of(a);
            for (long y = 0; y < height; ++y) {
                const vec pixels = load(I + y * stride + a);
                if (sum(pixels < all<vec>(0) ? -pixels : pixels) == 0) continue;
                *row++ = y;
                short* column = columns_of(y);
                while (*column != END) ++column;
                column[0] = a, column[1] = END;
            }
            *row = END;
        }
    }

    template <class F> void each_row(long a, Span down, F f) const {
        const short* y = rows_of(a);
        while (*y < down.begin) ++y;
        for (; *y < down.end; ++y) f(*y);
    }
    template <class F> void each_column(long y, Span across, F f) const {
        const short* a = columns_of(y);
        while (*a < across.begin) ++a;
        for (; *a < across.end; ++a) f(*a);
    }
};

// U = F_y I, for one channel.
template <class Pixels>
inline void filter_rows(const Filters& f, const float* I, const Pixels& pixels, float* U) {
    const long stride = f.columns;
    in_blocks(f.n, [=, &f](long j, auto block) {
        constexpr long N = decltype(block)::value;
        const float* F = f.F_y + j * f.rows;
        for (long a = f.across.begin; a < f.across.end; a += LANES) {
            vec total[N] = {};
            pixels.each_row(a, f.down, [&](long y) {
                const vec values = load(I + y * stride + a);
                for (long k = 0; k < N; ++k) total[k] += F[k * f.rows + y] * values;
            });
            for (long k = 0; k < N; ++k) store(U + (j + k) * stride + a, total[k]);
        }
    });
}

// out [N, N] = scale U F_x^T.
inline void filter_columns(const Filters& f, const float* U, float scale, float* out) {
    for (long j = 0; j < f.n; ++j)
        for (long i = 0; i < f.n; ++i) {
            vec total = {};
            for (long a = f.across.begin; a < f.across.end; a += LANES)
                total += load(U + j * f.columns + a) * load(f.F_x + i * f.columns + a);
            *out++ = scale * sum(total);
        }
}

// out [N, stride] = scale P F_x, for one channel's patch P [N, N].
inline void spread(const Filters& f, const float* P, float scale, float* out) {
    for (long j = 0; j < f.n; ++j, P += f.n, out += f.columns)
        for (long a = f.across.begin; a < f.across.end; a += LANES) {
            vec total = {};
            for (long i = 0; i < f.n; ++i) total += P[i] * load(f.F_x + i * f.columns + a);
            store(out + a, scale * total);
        }
}

// dF_x += scale P^T U.
inline void gather(const Filters& f, const float* P, const float* U, float scale) {
    for (long i = 0; i < f.n; ++i, ++P)
        for (long a = f.across.begin; a < f.across.end; a += LANES) {
            float* dF = f.dF_x + i * f.columns + a;
            vec total = {};
            for (long j = 0; j < f.n; ++j) total += P[j * f.n] * load(U + j * f.columns + a);
            store(dF, load(dF) + scale * total);
        }
}

// dF_y += R I^T, for one channel.
template <class Pixels>
inline void correlate(const Filters& f, const float* I, const Pixels& pixels) {
    const long stride = f.columns;
    in_blocks(f.n, [=, &f](long j, auto block) {
        constexpr long N = decltype(block)::value;
        const float* R = f.R + j * stride;
        for (long y = f.down.begin; y < f.down.end; ++y) {
            vec total[N] = {};
            bool is_zero = true;
            pixels.each_column(y, f.across, [&](long a) {
                const vec values = load(I + y * stride + a);
                for (long k = 0; k < N; ++k) total[k] += load(R + k * stride + a) * values;
                is_zero = false;
            });
            if (is_zero) continue;
            for (long k = 0; k < N; ++k) f.dF_y[(j + k) * f.rows + y] += sum(total[k]);
        }
    });
}

// F_y^T A, for one channel: passes each vector of pixels to `use`, with its offset. It is zero
// outside the pixels that the filters weigh.
template <class Use> inline void expand(const Filters& f, const float* A, Use use) {
    for (long y = f.down.begin; y < f.down.end; ++y)
        for (long a = f.across.begin; a < f.across.end; a += LANES) {
            vec total = {};
            for (long j = 0; j < f.n; ++j) total += f.F_y[j * f.rows + y] * load(A + j * f.columns + a);
            use(y * f.columns + a, total);
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
        filter_rows(f, image, Dense(), f.U);
        filter_columns(f, f.U, f.window.gamma, r);
    }
}

struct NoGradient {};  // in place of `use`, for an image that needs no gradient

// Adds to dF_x and dF_y, and passes each vector of the image's gradient to `use`, with its offset.
template <class Use>
inline void read_glimpse_backward(const Filters& f, const float* image, const float* dr, Use use) {
    for (long c = 0; c < f.image.channels; ++c, image += f.pixels(), dr += f.cells()) {
        filter_rows(f, image, Dense(), f.U);
        gather(f, dr, f.U, f.window.gamma);
        spread(f, dr, f.window.gamma, f.R);
        correlate(f, image, Dense());
        if constexpr (!std::is_same_v<Use, NoGradient>) {
            const long channel = c * f.pixels();
            expand(f, f.R, [=](long at, vec d) { use(channel + at, d); });
        }
    }
}

// canvas += F_y^T w F_x / gamma, for each channel (eqs. 8, 29).
inline void write_canvas(const Filters& f, const float* w, float* canvas) {
    for (long c = 0; c < f.image.channels; ++c, w += f.cells(), canvas += f.pixels()) {
        spread(f, w, 1 / f.window.gamma, f.U);
        expand(f, f.U, [=](long at, vec written) {
            store(canvas + at, load(canvas + at) + written);
        });
    }
}

// Computes the gradient of the patch and adds to dF_x and dF_y.
inline void write_canvas_backward(const Filters& f, const float* w, const float* d_canvas,
                                  float* d_w) {
    const float scale = 1 / f.window.gamma;
    for (long c = 0; c < f.image.channels; ++c) {
        filter_rows(f, d_canvas, Dense(), f.U);
        filter_columns(f, f.U, scale, d_w);
        gather(f, w, f.U, scale);
        spread(f, w, scale, f.R);
        correlate(f, d_canvas, Dense());
        w += f.cells(), d_w += f.cells(), d_canvas += f.pixels();
    }
}
