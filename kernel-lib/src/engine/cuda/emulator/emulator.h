// What the kernels' sources see in place of CUDA: its keywords, its variables, and the operations at which threads meet.
// The machine that runs them is in emulator.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time, so its shared memory is static memory; in a section of its own, to be found and poisoned.
#define __shared__ static __attribute__((section("shared_memory"), used))

using std::max;
using std::min;

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};

namespace emulator {

struct Dim3 {
    unsigned x, y, z;
};
extern Dim3 thread_index, block_index, block_size, grid_size;

// Waits until all threads of the block are here; `here` is a place in the source, the same for all of them.
void meet_block(const char* here);

// Waits until all lanes of the warp are here. The last to come calls `combine` with what each lane brought, in the
// lanes' order; it leaves the results in there.
using Combine = void (*)(void* const* lanes);
void meet_warp(const char* here, void* brought, Combine combine);

// Ends the run of the kernel with this message. Does not return.
[[noreturn]] void fail(const char* format, ...);

// The block's dynamic shared memory; an error if the launch gave it less than `used` bytes.
unsigned char* dynamic_shared(std::size_t used);

inline float bits_to_float(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// To nearest, ties to even: half a unit of the last place is added, less one bit if the number would stay even. NaN
// stays NaN.
inline std::uint16_t round_bf16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (std::isnan(x)) return 0x7fff;
    return std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// ---------------------------------------------------------------------------------------------------- shuffles

template <typename T> struct Shuffled {
    T mine, result;
    int argument;
};

template <typename T, typename From> T shuffle(const char* here, unsigned mask, T value, int argument, From) {
    if (mask != 0xffffffffu) fail("%s: only shuffles among all lanes are known", here);
    Shuffled<T> brought = {value, value, argument};
    meet_warp(here, &brought, [](void* const* lanes) {
        for (int lane = 0; lane < 32; lane++) {
            auto* to = static_cast<Shuffled<T>*>(lanes[lane]);
            const int from = From::lane(lane, to->argument);
            to->result = static_cast<Shuffled<T>*>(lanes[from])->mine;
        }
    });
    return brought.result;
}

struct Xor {
    static int lane(int lane, int mask) { return (lane ^ mask) % 32; }
};
struct Down {
    static int lane(int lane, int by) { return lane + by < 32 ? lane + by : lane; }
};
struct Index {
    static int lane(int, int from) { return from & 31; }
};

// ------------------------------------------------------------------------- tensor cores and asynchronous copies

// d += a b, spread over the lanes as PTX's mma.m16n8k16 with bf16 wants it.
void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b_0, unsigned b_1);
// PTX's ldmatrix.m8n8.x4.b16, with .trans or without.
void ldmatrix_x4(unsigned (&to)[4], const void* row, bool transposed);
// PTX's cp.async: the copy happens at any time until this thread waits for it.
void copy_async(void* to, const void* from, int bytes, bool real);
void copies_done();

}  // namespace emulator

#define threadIdx emulator::thread_index
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

#define EMULATOR_TEXT(x) #x
#define EMULATOR_LINE(line) EMULATOR_TEXT(line)
#define HERE __FILE__ ":" EMULATOR_LINE(__LINE__)
#define __syncthreads() emulator::meet_block(HERE)
#define __syncwarp() emulator::meet_warp(HERE, nullptr, nullptr)
#define __shfl_xor_sync(mask, value, by) emulator::shuffle(HERE, mask, value, by, emulator::Xor())
#define __shfl_down_sync(mask, value, by) emulator::shuffle(HERE, mask, value, by, emulator::Down())
#define __shfl_sync(mask, value, from) emulator::shuffle(HERE, mask, value, from, emulator::Index())
