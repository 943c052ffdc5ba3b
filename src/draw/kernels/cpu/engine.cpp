// The functions that Python calls, three per network. Compiles in about a second, without PyTorch's headers.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "classifier.h"
#include "recurrence.h"

namespace {

// Fresh memory costs one page fault per page; pages of 2 MiB keep the number small.
void prefer_large_pages(float* data, long floats) {
#ifdef __linux__
    const uintptr_t page = 1 << 21;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
    const uintptr_t end = reinterpret_cast<uintptr_t>(data + floats) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// The functions of one network, whose Forward and Backward process one thread's part of a batch.
template <class Job, class Activations, class Gradients, class Forward, class Backward>
struct Network {
    // The number of floats that the first `parts` threads need.
    static long workspace_size(const Job& job, long parts) {
        Arena arena{nullptr};
        for (long k = 0; k < parts; ++k) {
            const long b = Part(job.B, job.threads, k).count;
            Activations(job, arena, b);
            if (job.keep) Gradients(job, arena, b);
        }
        return arena.used;
    }

    template <class Pass> static void run(const Job& job) {
        if (job.panels) Pass::pack_weights(job);
        in_parallel(job.runtime, job.threads, [=](long k) {
            Arena arena{job.workspace + workspace_size(job, k)};
            Pass(job, k, arena).run();
        });
    }

    static void forward(const Job& job) {
        prefer_large_pages(job.workspace, workspace_size(job, job.threads));
        run<Forward>(job);
    }

    static void backward(const Job& job, float* gradients) {
        run<Backward>(job);
        in_parallel(job.runtime, job.threads, [=](long k) {  // sums in a fixed order
            const long n = job.gradient_stride, first = n * k / job.threads;
            const long count = n * (k + 1) / job.threads - first;
            float* total = gradients + first;
            for (long other = 1; other < job.threads; ++other)
                add(total, total + other * n, count);
        });
    }
};

typedef Network<Job, Activations, Gradients, Forward, Backward> Draw;
typedef Network<classifier::Job, classifier::Activations, classifier::Gradients,
                classifier::Forward, classifier::Backward> Classifier;

}  // namespace

extern "C" {

int64_t has_bfloat16() { return HAS_BFLOAT16; }

int64_t workspace_floats(const Job* job) { return Draw::workspace_size(*job, job->threads); }
int64_t panels_words(const Job* job) { return job->panels_total(); }
void run_forward(const Job* job) { Draw::forward(*job); }
void run_backward(const Job* job) { Draw::backward(*job, job->gradients.W_enc); }

int64_t classifier_workspace_floats(const classifier::Job* job) {
    return Classifier::workspace_size(*job, job->threads);
}
int64_t classifier_panels_words(const classifier::Job* job) { return job->panels_total(); }
void run_classifier_forward(const classifier::Job* job) { Classifier::forward(*job); }
void run_classifier_backward(const classifier::Job* job) {
    Classifier::backward(*job, job->gradients.W);
}
}
