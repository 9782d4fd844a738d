// What all kernels share: types, loads of eight numbers, sums over a warp, and the instructions of the tensor cores.
//
// The kernels are one translation unit: this file, then embedding, rms_norm, mean, gelu, attention, attention_exact,
// cross_entropy, optimizer, sampling, rows (.cu). It includes nothing, for NVRTC has no headers. It is compiled twice:
// with ROUNDED_BF16=1, where activations that feed matrix products are bf16, and with ROUNDED_BF16=0, where all is f32
// so that results can be checked to many digits. With EMULATED a C++ compiler builds it for the CPU (see emulator/).
//
// Nothing here adds atomically: every sum has one order, so that the same numbers give the same bits.
//
// How kernels are launched:
// - Row kernels: block (32, 4), a warp per row, grid ceil(rows / 4).
// - attention_delta works with any grid and block: it strides over all heads of all tokens.
// - Attention: engine/cuda/attention.rs has it, and by ATTENTION_KERNELS for which heads there are kernels. More than
//   48 KB of dynamic shared memory must be allowed first (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES).
// - rms_norm_backward needs no dynamic shared memory. attention_one: (t + 256) * 4 bytes, head width at most 256.
// - adam strides over what its grid leaves: a group that does not begin at 16 bytes needs that at its end.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

// The upper half of an f32: 8 bits of exponent, 7 of mantissa.
struct bf16 {
    u16 bits;
};

#if ROUNDED_BF16
typedef bf16 rounded;
#else
typedef float rounded;
#endif

// The shared memory that a launch asks for, of which so many bytes are used.
#ifdef EMULATED
#define DYNAMIC_SHARED(name, bytes) unsigned char* name = emulator::dynamic_shared(bytes)
#else
#define DYNAMIC_SHARED(name, bytes) extern __shared__ __align__(16) unsigned char name[]
#endif

#define DEVICE static __device__ __forceinline__

constexpr int WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

// ---------------------------------------------------------------------------------------------------------- bf16

DEVICE float bits_to_float(u32 bits) {
#ifdef EMULATED
    return emulator::bits_to_float(bits);
#else
    return __uint_as_float(bits);
#endif
}

constexpr u32 MINUS_INFINITY_BITS = 0xff800000u;

// Two numbers rounded to nearest even, the first in the lower half. A NaN stays one.
DEVICE u32 pack_bf16(float low, float high) {
#ifdef EMULATED
    return emulator::round_bf16(low) | u32(emulator::round_bf16(high)) << 16;
#else
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#endif
}

DEVICE float to_float(float x) { return x; }
DEVICE float to_float(bf16 x) { return bits_to_float(u32(x.bits) << 16); }

DEVICE void store(float* to, float x) { *to = x; }
DEVICE void store(bf16* to, float x) { to->bits = u16(pack_bf16(x, 0.0f)); }

// ------------------------------------------------------------------------------------------------- eight numbers

// Eight numbers at an address that is a multiple of 16 bytes: two 16-byte loads of f32, one of bf16.
DEVICE void load_8(const float* from, float (&to)[8]) {
    const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w;
    to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}

DEVICE void load_8(const bf16* from, float (&to)[8]) {
    const uint4 a = *reinterpret_cast<const uint4*>(from);
    const u32 pairs[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = bits_to_float(pairs[i] << 16);
        to[2 * i + 1] = bits_to_float(pairs[i] & 0xffff0000u);
    }
}

DEVICE void store_8(float* to, const float (&x)[8]) {
    reinterpret_cast<float4*>(to)[0] = float4{x[0], x[1], x[2], x[3]};
    reinterpret_cast<float4*>(to)[1] = float4{x[4], x[5], x[6], x[7]};
}

DEVICE void store_8(bf16* to, const float (&x)[8]) {
    *reinterpret_cast<uint4*>(to) =
        uint4{pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])};
}

// The same where only `count` numbers are left (zeros stand for the others), or where rows are not aligned.
template <typename T> DEVICE void load_8(const T* from, int count, bool aligned, float (&to)[8]) {
    if (aligned && count >= 8) return load_8(from, to);
#pragma unroll
    for (int i = 0; i < 8; i++) to[i] = i < count ? to_float(from[i]) : 0.0f;
}

template <typename T> DEVICE void store_8(T* to, int count, bool aligned, const float (&x)[8]) {
    if (aligned && count >= 8) return store_8(to, x);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (i < count) store(to + i, x[i]);
    }
}

// Whether rows of c numbers begin at multiples of 16 bytes.
DEVICE bool rows_aligned(int c) { return c % 8 == 0; }

// The row that this warp works on, in kernels of a warp per row.
DEVICE int warp_row() { return int(blockIdx.x * blockDim.y + threadIdx.y); }

// -------------------------------------------------------------------------------------------------- sums of many

// The sum over a warp's lanes, the same bits in each: a butterfly adds the same pairs everywhere.
DEVICE float warp_sum(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(ALL_LANES, x, lanes);
    return x;
}

DEVICE float warp_max(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lanes));
    return x;
}

// The sum over a block of 256 threads, in its first thread; `shared` has 256 numbers.
DEVICE double block_sum(double x, double* shared) {
    const int thread = int(threadIdx.x);
    shared[thread] = x;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) shared[thread] += shared[thread + half];
    }
    return shared[0];
}

// -------------------------------------------------------------------------------------------------- tensor cores

// d += a b, where a is (16, 16), b (16, 8) and d (16, 8), spread over a warp's lanes (PTX ISA, "Matrix fragments for
// mma.m16n8k16"). Lane l holds, with g = l / 4 and t = l % 4,
//   a[0..4]: rows g, g + 8, g, g + 8 at columns 2t, 2t + 1, the last two 8 columns further,
//   b[0..2]: rows 2t, 2t + 1, and 8 further, of column g,
//   d[0..4]: row g at columns 2t, 2t + 1, then row g + 8 at the same.
DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b_0, u32 b_1) {
#ifdef EMULATED
    emulator::mma_m16n8k16_bf16(d, a, b_0, b_1);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_0), "r"(b_1));
#endif
}

// Four (8, 8) matrices of bf16 from shared memory: lane l gives the address of row l % 8 of matrix l / 8, and gets of
// each matrix the numbers 2 (l % 4) and the next of row l / 4.
DEVICE void load_matrices(u32 (&to)[4], const bf16* row) {
#ifdef EMULATED
    emulator::ldmatrix_x4(to, row, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(u32(__cvta_generic_to_shared(row)))
                 : "memory");
#endif
}

// The same with each matrix transposed: rows 2 (l % 4) and the next, of column l / 4.
DEVICE void load_matrices_transposed(u32 (&to)[4], const bf16* row) {
#ifdef EMULATED
    emulator::ldmatrix_x4(to, row, true);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(u32(__cvta_generic_to_shared(row)))
                 : "memory");
#endif
}

// 2^x, to about 2 units of the last place of f32.
DEVICE float exp_2(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// ------------------------------------------------------------------------------------------- asynchronous copies

// Starts to copy BYTES (4 or 16) from global to shared memory; zeros instead if not `real`. Nothing may be read before
// `copies_done` and a barrier.
template <int BYTES> DEVICE void copy_async(void* to, const void* from, bool real) {
#ifdef EMULATED
    emulator::copy_async(to, from, BYTES, real);
#else
    const u32 shared = u32(__cvta_generic_to_shared(to));
    const int bytes = real ? BYTES : 0;
    if constexpr (BYTES == 16) {
        // .cg: not through L1, where it would push out what is used again.
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(BYTES), "r"(bytes)
                     : "memory");
    }
#endif
}

// Waits until all copies that this thread started are done.
DEVICE void copies_done() {
#ifdef EMULATED
    emulator::copies_done();
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}
