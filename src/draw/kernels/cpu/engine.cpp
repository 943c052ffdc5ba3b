// The three functions that Python calls. No header of PyTorch: this compiles in about a second.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <atomic>

#include "backward.h"

namespace {

// For as long as it lives, this thread's products are serial and denormals count as zero.
struct Quiet {
    const Job& job;
    const int threads;

    explicit Quiet(const Job& job) : job(job), threads(job.set_threads(1)) { flush(); }
    ~Quiet() {
        job.set_threads(threads);
        restore();
    }
#ifdef __SSE__
    unsigned control = __builtin_ia32_stmxcsr();
    void flush() { __builtin_ia32_ldmxcsr(control | 0x8040); }
    void restore() { __builtin_ia32_ldmxcsr(control); }
#else
    void flush() {}
    void restore() {}
#endif
};

// work(k) for every part k of the batch, each on one of PyTorch's own threads, which are awake.
template <class Work> void in_parallel(const Job& job, Work work) {
    struct Parts {
        const Job& job;
        Work& work;
        std::atomic<long> next{0};
    } parts{job, work};
    const auto take_parts = [](void* data) {
        Parts& parts = *static_cast<Parts*>(data);
        Quiet quiet(parts.job);
        for (long k; (k = parts.next++) < parts.job.threads;) parts.work(k);
    };
    job.parallel(take_parts, &parts, job.threads, 0);
}

// The floats that the first `parts` threads take.
long room(const Job& job, long parts) {
    Arena arena{nullptr};
    for (long k = 0; k < parts; ++k) {
        const long b = Part(job, k).count;
        Activations(job, arena, b);
        if (job.keep) Scratch(job, arena, b);
    }
    return arena.used;
}

Arena memory(const Job& job, long k) { return {job.workspace + room(job, k)}; }

// Fresh memory costs a fault a page: with pages of 2 MiB there are few.
void prefer_large_pages(float* data, long floats) {
#ifdef __linux__
    const uintptr_t page = 1 << 21;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
    const uintptr_t end = reinterpret_cast<uintptr_t>(data + floats) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace

extern "C" {

int64_t workspace_floats(const Job* job) { return room(*job, job->threads); }

void run_forward(const Job* job) {
    prefer_large_pages(job->workspace, workspace_floats(job));
    in_parallel(*job, [=](long k) {
        Arena arena = memory(*job, k);
        Forward(*job, k, arena).run();
    });
}

void run_backward(const Job* job) {
    in_parallel(*job, [=](long k) {
        Arena arena = memory(*job, k);
        Backward(*job, k, arena).run();
    });
    in_parallel(*job, [=](long k) {  // the threads' shares, always summed in the same order
        const long n = job->gradient_stride, first = n * k / job->threads;
        const long count = n * (k + 1) / job->threads - first;
        float* total = job->gradients.W_enc + first;
        for (long other = 1; other < job->threads; ++other) add(total, total + other * n, count);
    });
}
}
