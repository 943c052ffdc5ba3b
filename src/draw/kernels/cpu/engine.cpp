// The three functions that Python calls. Compiles in about a second, without PyTorch's headers.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "recurrence.h"

namespace {

// The number of floats that the first `parts` threads need.
long workspace_size(const Job& job, long parts) {
    Arena arena{nullptr};
    for (long k = 0; k < parts; ++k) {
        const long b = Part(job, k).count;
        Activations(job, arena, b);
        if (job.keep) Gradients(job, arena, b);
    }
    return arena.used;
}

Arena arena_of(const Job& job, long k) { return {job.workspace + workspace_size(job, k)}; }

// Fresh memory costs one page fault per page; pages of 2 MiB keep the number small.
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

int64_t workspace_floats(const Job* job) { return workspace_size(*job, job->threads); }

void run_forward(const Job* job) {
    prefer_large_pages(job->workspace, workspace_floats(job));
    in_parallel(job->runtime, job->threads, [=](long k) {
        Arena arena = arena_of(*job, k);
        Forward(*job, k, arena).run();
    });
}

void run_backward(const Job* job) {
    in_parallel(job->runtime, job->threads, [=](long k) {
        Arena arena = arena_of(*job, k);
        Backward(*job, k, arena).run_backward();
    });
    in_parallel(job->runtime, job->threads, [=](long k) {  // sums in a fixed order
        const long n = job->gradient_stride, first = n * k / job->threads;
        const long count = n * (k + 1) / job->threads - first;
        float* total = job->gradients.W_enc + first;
        for (long other = 1; other < job->threads; ++other) add(total, total + other * n, count);
    });
}
}
