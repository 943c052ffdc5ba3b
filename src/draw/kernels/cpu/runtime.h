// Threads, matrix products and memory, independent of the network.
#pragma once
#include <atomic>
#include <cstdint>

#include "bfloat16.h"
#include "numbers.h"

// The Fortran interface of the BLAS library that PyTorch contains.
typedef void Sgemm(const char*, const char*, const int*, const int*, const int*, const float*,
                   const float*, const int*, const float*, const int*, const float*, float*,
                   const int*);

// Calls `work(data)` on several threads: the entry point of OpenMP regions in PyTorch's OpenMP.
typedef void Parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);

// Floats between the rows of a transposed weight: rows of 4096 bytes would share cache lines.
constexpr long GAP = 16;

struct Matrix {
    float* data;
    long stride;  // floats from row to row
};

struct ConstMatrix {
    const float* data;
    long stride;
    const Pair* panels = nullptr;  // the right factor of a product in bfloat16, packed
};

// Functions of PyTorch's libraries; Python passes their addresses.
struct Runtime {
    Sgemm* sgemm;
    int (*set_threads)(int);  // sets the BLAS threads for calls from the current thread
    Parallel* parallel;

    // out [m, n] = a [m, k] b [k, n] + beta out, all row-major.
    void multiply(long m, long n, long k, ConstMatrix a, ConstMatrix b, Matrix out,
                  float beta = 0) const {
        if (b.panels)
            multiply_bfloat16(m, n, k, a.data, a.stride, b.panels, out.data, out.stride, beta != 0);
        else
            call("N", m, n, k, a, b, out, beta);
    }

    // out [m, n] += a^T b over k rows: the gradient of a weight.
    void add_outer(long m, long n, long k, ConstMatrix a, ConstMatrix b, Matrix out,
                   bool in_bfloat16) const {
        if (in_bfloat16)
            add_outer_bfloat16(m, n, k, a.data, a.stride, b.data, b.stride, out.data, out.stride);
        else
            call("T", m, n, k, a, b, out, 1);
    }

private:
    // Fortran reads row-major matrices as transposed, hence the reversed operands.
    void call(const char* transpose_a, long m, long n, long k, ConstMatrix a, ConstMatrix b,
              Matrix out, float beta) const {
        const int M = n, N = m, K = k, lda = b.stride, ldb = a.stride, ldc = out.stride;
        const float one = 1;
        sgemm("N", transpose_a, &M, &N, &K, &one, b.data, &lda, a.data, &ldb, &beta, out.data,
              &ldc);
    }
};

// While it exists, matrix products on this thread are serial and denormals are flushed to zero.
struct SerialScope {
    const Runtime& runtime;
    const int threads;

    explicit SerialScope(const Runtime& runtime)
        : runtime(runtime), threads(runtime.set_threads(1)) { flush_denormals(); }
    ~SerialScope() {
        runtime.set_threads(threads);
        restore_denormals();
    }
#ifdef __SSE__
    unsigned control = __builtin_ia32_stmxcsr();
    void flush_denormals() { __builtin_ia32_ldmxcsr(control | 0x8040); }
    void restore_denormals() { __builtin_ia32_ldmxcsr(control); }
#else
    void flush_denormals() {}
    void restore_denormals() {}
#endif
};

// Calls work(k) for each of `parts` parts of the batch, on PyTorch's own threads.
template <class Work> void in_parallel(const Runtime& runtime, long parts, Work work) {
    struct Queue {
        const Runtime& runtime;
        const long parts;
        Work& work;
        std::atomic<long> next{0};
    } queue{runtime, parts, work};
    const auto process = [](void* data) {
        Queue& queue = *static_cast<Queue*>(data);
        SerialScope scope(queue.runtime);
        for (long k; (k = queue.next++) < queue.parts;) queue.work(k);
    };
    runtime.parallel(process, &queue, parts, 0);
}

// The rows of a batch of `rows` that thread `k` processes.
struct Part {
    long first, count;

    Part(long rows, long threads, long k)
        : first(rows * k / threads), count(rows * (k + 1) / threads - first) {}
};

// Allocates aligned pieces of one buffer; without a buffer it only counts.
struct Arena {
    float* base;
    long used = 0;

    float* take(long floats) {
        float* piece = base ? base + used : nullptr;
        used += padded(floats);
        return piece;
    }
};

// One array per glimpse: all of them kept, or each overwriting the previous one.
struct PerGlimpse {
    float* data;
    long stride;

    PerGlimpse(Arena& arena, long glimpses, long floats, bool keep)
        : data(arena.take(keep ? glimpses * padded(floats) : floats)),
          stride(keep ? padded(floats) : 0) {}
    float* operator[](long t) const { return data + t * stride; }
};
