// CUDA without a GPU: runs the kernels' own sources on one thread of a CPU, to find what is wrong with them.
//
//   c++ -std=c++17 -O1 -shared -fPIC -DEMULATED -DROUNDED_BF16=1 emulator.cpp -o emulator.so
//
// The blocks of a grid run one after the other. The threads of a block are fibers: functions with stacks of their own,
// of which one runs until it must wait for others. They wait at barriers, and at the operations that a warp does
// together (shuffles, and the tensor cores' instructions): there, the last lane to come computes what all get.
//
// What goes wrong on a GPU only now and then goes wrong here every time:
// - Threads that wait at different places, or for threads that have ended, are an error, not a hang.
// - Shared memory holds NaNs when a block begins: what is read before it is written shows.
// - A seed says in which order threads run: 0 keeps all abreast, others let one warp run as far ahead as barriers let
//   it. If results differ between seeds, a barrier is missing.
// - Asynchronous copies happen when they are waited for and no sooner, or, with odd seeds, at once: waiting too late
//   and overwriting too early both show.

// Some compilers check by default that `longjmp` goes up a stack: here it goes to other stacks.
#undef _FORTIFY_SOURCE

#include "emulator.h"

#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <setjmp.h>
#include <ucontext.h>

#include "../kernels/common.cuh"

#include "../kernels/embedding.cu"
#include "../kernels/rms_norm.cu"
#include "../kernels/mean.cu"
#include "../kernels/gelu.cu"
#include "../kernels/attention.cu"
#include "../kernels/attention_exact.cu"
#include "../kernels/cross_entropy.cu"
#include "../kernels/optimizer.cu"
#include "../kernels/sampling.cu"
#include "../kernels/rows.cu"

// The linker's names for the ends of the section that `__shared__` puts variables into.
extern "C" unsigned char __start_shared_memory[] __attribute__((visibility("hidden")));
extern "C" unsigned char __stop_shared_memory[] __attribute__((visibility("hidden")));

namespace emulator {

Dim3 thread_index, block_index, block_size, grid_size;

namespace {

constexpr std::size_t STACK = 64 << 10;
constexpr int LANES = 32;

struct Copy {
    void* to;
    const void* from;
    int bytes;
    bool real;
};

struct Fiber {
    // Where it goes on, once it has begun. `swapcontext` would ask the system for the signals' mask each time, which takes longer
    // than all that a thread does in between.
    jmp_buf place;
    bool begun = false;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[STACK]};
    Dim3 index;
    bool ended = false;
    // Where it waits, if it does.
    const char* waits = nullptr;
    std::vector<Copy> copies;
};

// Those who have come to a meeting so far.
struct Meeting {
    unsigned came = 0;
    const char* here = nullptr;
    void* brought[LANES] = {};
};

struct Machine {
    std::vector<Fiber> fibers;  // kept from block to block; the first `threads` are used
    unsigned threads = 0;
    Meeting block;
    std::vector<Meeting> warps;
    unsigned current = 0;         // the fiber that runs
    unsigned favoured = 0;        // the warp that runs first if several can
    std::vector<unsigned> ready;  // the fibers that can run
    jmp_buf scheduler;
    void (*kernel)(void**) = nullptr;
    void** arguments = nullptr;
    std::vector<unsigned char> shared;
    std::uint64_t seed = 0, random = 0;
    bool failed = false;
    char message[512];
} machine;

std::uint64_t next_random() {  // xorshift64
    machine.random ^= machine.random << 13;
    machine.random ^= machine.random >> 7;
    return machine.random ^= machine.random << 17;
}

// Which of those that are ready runs next: the one that waited longest, or, with a seed, any of the favoured warp, which
// so gets as far ahead of the others as barriers let it.
std::size_t next_ready() {
    if (machine.seed == 0) return 0;
    const auto& ready = machine.ready;
    for (;;) {
        const std::size_t start = next_random() % ready.size();
        for (std::size_t i = 0; i < ready.size(); i++) {
            const std::size_t at = start + i < ready.size() ? start + i : start + i - ready.size();
            if (ready[at] / LANES == machine.favoured) return at;
        }
        machine.favoured = ready[next_random() % ready.size()] / LANES;
    }
}

// Lets others run until this fiber goes on.
void leave(Fiber& fiber) {
    if (_setjmp(fiber.place) == 0) _longjmp(machine.scheduler, 1);
}

void wait(const char* here) {
    Fiber& fiber = machine.fibers[machine.current];
    fiber.waits = here;
    leave(fiber);
}

void wake(unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++) {
        if (i == machine.current) continue;
        machine.fibers[i].waits = nullptr;
        machine.ready.push_back(i);
    }
}

// One more has come; whether all have. All must have come to the same place.
bool come(Meeting& meeting, const char* here, unsigned all) {
    if (meeting.came == 0) meeting.here = here;
    if (meeting.here != here && std::strcmp(meeting.here, here) != 0) {
        fail("thread %u is at %s where others wait at %s", machine.current, here, meeting.here);
    }
    if (++meeting.came < all) return false;
    meeting.came = 0;
    return true;
}

// What a fiber does: a thread of one block after the other.
void run_threads() {
    for (;;) {
        machine.kernel(machine.arguments);
        Fiber& fiber = machine.fibers[machine.current];
        fiber.ended = true;
        leave(fiber);
    }
}

// Lets a fiber run until it waits or ends.
void go_on(Fiber& fiber) {
    if (_setjmp(machine.scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    ucontext_t start;
    getcontext(&start);
    start.uc_stack.ss_sp = fiber.stack.get();
    start.uc_stack.ss_size = STACK;
    start.uc_link = nullptr;
    makecontext(&start, run_threads, 0);
    setcontext(&start);
}

void copy(const Copy& copy) {
    if (copy.real) {
        std::memcpy(copy.to, copy.from, std::size_t(copy.bytes));
    } else {
        std::memset(copy.to, 0, std::size_t(copy.bytes));
    }
}

// Runs one block to its end; whether all went well.
bool run_block() {
    const unsigned n = machine.threads;
    std::memset(__start_shared_memory, 0xff, std::size_t(__stop_shared_memory - __start_shared_memory));
    std::fill(machine.shared.begin(), machine.shared.end(), 0xff);
    machine.block = {};
    machine.warps.assign(n / LANES, {});
    machine.ready.clear();
    for (unsigned i = 0; i < n; i++) {
        Fiber& fiber = machine.fibers[i];
        fiber.index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
        fiber.ended = false;
        fiber.waits = nullptr;
        fiber.copies.clear();
        machine.ready.push_back(i);
    }
    while (!machine.ready.empty()) {
        const std::size_t at = next_ready();
        const unsigned i = machine.ready[at];
        machine.ready.erase(machine.ready.begin() + std::ptrdiff_t(at));
        machine.current = i;
        thread_index = machine.fibers[i].index;
        go_on(machine.fibers[i]);
        if (machine.failed) return false;
    }
    // Nobody can go on. If someone still waits, it is for one who waits elsewhere or has ended.
    const Fiber* waiting = nullptr;
    const Fiber* other = nullptr;
    for (unsigned i = 0; i < n; i++) {
        const Fiber& fiber = machine.fibers[i];
        if (!fiber.ended && !waiting) waiting = &fiber;
    }
    if (!waiting) return true;
    for (unsigned i = 0; i < n; i++) {
        const Fiber& fiber = machine.fibers[i];
        if (fiber.ended || std::strcmp(fiber.waits, waiting->waits) != 0) other = &fiber;
    }
    std::snprintf(machine.message, sizeof machine.message, "thread (%u, %u, %u) waits at %s, but %s%s",
                  waiting->index.x, waiting->index.y, waiting->index.z, waiting->waits,
                  !other         ? "not all of its warp come"
                  : other->ended ? "another has ended"
                                 : "another waits at ",
                  other && !other->ended ? other->waits : "");
    return false;
}

// A kernel with the types of its arguments forgotten: they come as pointers, as with cuLaunchKernel.
template <auto KERNEL> struct Erased;
template <typename... A, void (*KERNEL)(A...)> struct Erased<KERNEL> {
    template <std::size_t... I> static void call(void** arguments, std::index_sequence<I...>) {
        KERNEL(*static_cast<A*>(arguments[I])...);
    }
    static void run(void** arguments) { call(arguments, std::index_sequence_for<A...>()); }
};

struct Kernel {
    const char* name;
    void (*run)(void**);
};

#define KERNEL(name) {#name, Erased<&name>::run}
#define ATTENTION(D, ...) \
    KERNEL(attention_##D), KERNEL(attention_backward_kv_##D), KERNEL(attention_backward_q_##D),

const Kernel KERNELS[] = {
    KERNEL(embed), KERNEL(embed_backward_parts), KERNEL(embed_backward_tokens), KERNEL(embed_backward_positions),
    KERNEL(rms_norm), KERNEL(rms_norm_backward), KERNEL(sum_parts), KERNEL(mean_of_rms_norm),
    KERNEL(mean), KERNEL(mean_backward),
    KERNEL(gelu), KERNEL(gelu_backward),
    KERNEL(attention_delta),
    ATTENTION_KERNELS
    KERNEL(cross_entropy), KERNEL(sum_losses),
    KERNEL(adam), KERNEL(square_sum), KERNEL(clip_scale),
    KERNEL(embed_one), KERNEL(attention_one),
    KERNEL(gather), KERNEL(scatter), KERNEL(round_to_bf16),
};

const Kernel* kernel_of(const char* name) {
    for (const Kernel& kernel : KERNELS) {
        if (std::strcmp(kernel.name, name) == 0) return &kernel;
    }
    return nullptr;
}

float from_bf16(unsigned bits) { return bits_to_float(bits << 16); }

}  // namespace

void fail(const char* format, ...) {
    va_list rest;
    va_start(rest, format);
    std::vsnprintf(machine.message, sizeof machine.message, format, rest);
    va_end(rest);
    machine.failed = true;
    _longjmp(machine.scheduler, 1);
}

unsigned char* dynamic_shared(std::size_t used) {
    const std::size_t given = machine.shared.size() - 15;
    if (used > given) fail("uses %zu bytes of dynamic shared memory, launched with %zu", used, given);
    return reinterpret_cast<unsigned char*>((std::uintptr_t(machine.shared.data()) + 15) / 16 * 16);
}

void meet_block(const char* here) {
    if (come(machine.block, here, machine.threads)) {
        wake(0, machine.threads);
    } else {
        wait(here);
    }
}

void meet_warp(const char* here, void* brought, Combine combine) {
    const unsigned warp = machine.current / LANES;
    Meeting& meeting = machine.warps[warp];
    meeting.brought[machine.current % LANES] = brought;
    if (!come(meeting, here, LANES)) return wait(here);
    if (combine) combine(meeting.brought);
    wake(warp * LANES, LANES);
}

// The fragments' layout, from the PTX ISA ("Matrix Fragments for mma.m16n8k16 with floating point type"): with
// group = lane / 4 and t = lane % 4,
//   aᵢ (i in 0..8): row = group if i is 0, 1, 4, 5, else group + 8; column = 2t + (i & 1), + 8 if i ≥ 4
//   bᵢ (i in 0..4): row = 2t + (i & 1), + 8 if i ≥ 2; column = group
//   dᵢ (i in 0..4): row = group if i < 2, else group + 8; column = 2t + (i & 1)
// A register holds two bf16, the lower half first.
void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b_0, unsigned b_1) {
    struct Brought {
        float* d;
        const unsigned* a;
        unsigned b[2];
    } brought = {d, a, {b_0, b_1}};
    meet_warp("mma", &brought, [](void* const* lanes) {
        double a[16][16], b[16][8];
        for (int lane = 0; lane < LANES; lane++) {
            const auto& of = *static_cast<Brought*>(lanes[lane]);
            const int group = lane / 4, t = lane % 4;
            for (int i = 0; i < 8; i++) {
                const int row = i % 4 < 2 ? group : group + 8, column = 2 * t + (i & 1) + (i >= 4 ? 8 : 0);
                a[row][column] = double(from_bf16(of.a[i / 2] >> 16 * (i & 1) & 0xffff));
            }
            for (int i = 0; i < 4; i++) {
                const int row = 2 * t + (i & 1) + (i >= 2 ? 8 : 0);
                b[row][group] = double(from_bf16(of.b[i / 2] >> 16 * (i & 1) & 0xffff));
            }
        }
        for (int lane = 0; lane < LANES; lane++) {
            const auto& of = *static_cast<Brought*>(lanes[lane]);
            const int group = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; i++) {
                const int row = i < 2 ? group : group + 8, column = 2 * t + (i & 1);
                double sum = double(of.d[i]);
                for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
                of.d[i] = float(sum);
            }
        }
    });
}

// From the PTX ISA ("ldmatrix"): lanes 8i .. 8i + 7 hold the addresses of rows 0 .. 7 of matrix i. Lane l gets numbers
// 2 (l % 4) and the next of row l / 4 of each matrix, or of its transpose.
void ldmatrix_x4(unsigned (&to)[4], const void* row, bool transposed) {
    struct Brought {
        unsigned* to;
        const std::uint16_t* row;
        bool transposed;
    } brought = {to, static_cast<const std::uint16_t*>(row), transposed};
    if (std::uintptr_t(row) % 16 != 0) fail("ldmatrix: the row's address is not a multiple of 16");
    meet_warp("ldmatrix", &brought, [](void* const* lanes) {
        for (int lane = 0; lane < LANES; lane++) {
            auto& of = *static_cast<Brought*>(lanes[lane]);
            for (int matrix = 0; matrix < 4; matrix++) {
                unsigned pair = 0;
                for (int i = 0; i < 2; i++) {
                    const int row = of.transposed ? 2 * (lane % 4) + i : lane / 4;
                    const int column = of.transposed ? lane / 4 : 2 * (lane % 4) + i;
                    const auto& from = *static_cast<Brought*>(lanes[8 * matrix + row]);
                    pair |= unsigned(from.row[column]) << 16 * i;
                }
                of.to[matrix] = pair;
            }
        }
    });
}

void copy_async(void* to, const void* from, int bytes, bool real) {
    if (std::uintptr_t(to) % std::uintptr_t(bytes) != 0 || std::uintptr_t(from) % std::uintptr_t(bytes) != 0) {
        fail("cp.async: an address is not a multiple of %d", bytes);
    }
    if (machine.seed % 2 == 1) return copy({to, from, bytes, real});
    machine.fibers[machine.current].copies.push_back({to, from, bytes, real});
}

void copies_done() {
    auto& copies = machine.fibers[machine.current].copies;
    for (const Copy& each : copies) copy(each);
    copies.clear();
}

}  // namespace emulator

using namespace emulator;

// Runs a kernel. 0 if all went well; else 1, and a message.
extern "C" int igpt_emulate(const char* name, const unsigned grid[3], const unsigned block[3], unsigned shared,
                            void** arguments, unsigned long long seed, char* message, unsigned message_length) {
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> guard(one_at_a_time);
    const auto say = [&](const char* what) {
        if (message_length > 0) std::snprintf(message, message_length, "%s: %s", name, what);
        return 1;
    };
    const Kernel* kernel = kernel_of(name);
    if (!kernel) return say("no such kernel");
    block_size = {block[0], block[1], block[2]};
    grid_size = {grid[0], grid[1], grid[2]};
    machine.threads = block[0] * block[1] * block[2];
    if (machine.threads == 0 || machine.threads > 1024 || machine.threads % LANES != 0) {
        return say("a block is whole warps, at most 1024 threads");
    }
    while (machine.fibers.size() < machine.threads) machine.fibers.emplace_back();
    machine.kernel = kernel->run;
    machine.arguments = arguments;
    machine.shared.resize(shared + 15);
    machine.seed = seed;
    machine.random = seed * 0x9e3779b97f4a7c15u | 1;
    machine.favoured = 0;
    machine.failed = false;
    for (block_index.z = 0; block_index.z < grid[2]; block_index.z++) {
        for (block_index.y = 0; block_index.y < grid[1]; block_index.y++) {
            for (block_index.x = 0; block_index.x < grid[0]; block_index.x++) {
                if (run_block()) continue;
                // Fibers that are in the middle of a thread never go on.
                machine.fibers.clear();
                return say(machine.message);
            }
        }
    }
    return 0;
}

// The names of the kernels there are, at most `most`; returns how many there are.
extern "C" unsigned igpt_emulator_kernels(const char** names, unsigned most) {
    const unsigned count = sizeof KERNELS / sizeof *KERNELS;
    for (unsigned i = 0; i < count && i < most; i++) names[i] = KERNELS[i].name;
    return count;
}
