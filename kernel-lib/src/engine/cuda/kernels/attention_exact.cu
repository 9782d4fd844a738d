// Attention in f32, for checking: the same names, arguments and mathematics as attention.cu, without tensor cores.
// Tiles of 32 queries and 32 keys; a warp has 8 rows of the one, its lanes are the 32 of the other.
#if !ROUNDED_BF16

namespace exact {

constexpr int TILE = 32;
constexpr int WARPS = 4;
constexpr int ROWS = TILE / WARPS;  // rows of a warp
constexpr int THREADS = WARPS * WARP;

// A tile in shared memory: 32 tokens of D channels, D + 1 apart so that lanes which read a column meet no bank twice.
template <int D> struct Tile {
    float at[TILE][D + 1];
};

// Rows of one head of one image, `stride` numbers apart.
struct Rows {
    const float* from;
    size_t stride;
};

// Zeros stand for tokens from t on and channels from `width` on.
template <int D> DEVICE void load(Tile<D>& to, Rows rows, int first, int t, int width) {
    for (int i = int(threadIdx.x); i < TILE * D; i += THREADS) {
        const int row = i / D, channel = i % D;
        const bool real = first + row < t && channel < width;
        to.at[row][channel] = real ? rows.from[size_t(first + row) * rows.stride + channel] : 0.0f;
    }
}

// x yᵀ for one row of x and the lane's row of y.
template <int D> DEVICE float dot(const float* x, const float* y) {
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 0; i < D; i++) sum += x[i] * y[i];
    return sum;
}

// sum[i] += Σⱼ p[j] rows[j][channel], for the lane's channels lane + 32 i.
template <int D> DEVICE void add_weighted(float (&sum)[D / WARP], const float* p, const Tile<D>& rows) {
    for (int j = 0; j < TILE; j++) {
#pragma unroll
        for (int i = 0; i < D / WARP; i++) sum[i] += p[j] * rows.at[j][threadIdx.x % WARP + i * WARP];
    }
}

template <int D> DEVICE void store_row(float* to, const float (&x)[D / WARP], float factor, int width) {
#pragma unroll
    for (int i = 0; i < D / WARP; i++) {
        const int channel = int(threadIdx.x % WARP) + i * WARP;
        if (channel < width) to[channel] = x[i] * factor;
    }
}

template <int D> constexpr u32 FORWARD_SHARED = 3 * sizeof(Tile<D>) + 4 * TILE * WARP;
template <int D> constexpr u32 BACKWARD_SHARED = 4 * sizeof(Tile<D>) + 2 * 4 * TILE * WARP;

template <int D>
DEVICE void forward(unsigned char* memory, const float* qkv, float* o, float* lse, int t, int heads, int width,
                    bool causal) {
    Tile<D>& q = reinterpret_cast<Tile<D>*>(memory)[0];
    Tile<D>& k = reinterpret_cast<Tile<D>*>(memory)[1];
    Tile<D>& v = reinterpret_cast<Tile<D>*>(memory)[2];
    float(*p)[WARP] = reinterpret_cast<float(*)[WARP]>(memory + 3 * sizeof(Tile<D>));

    const int head = int(blockIdx.y), image = int(blockIdx.z), c = heads * width;
    const int lane = int(threadIdx.x) % WARP, top = int(threadIdx.x) / WARP * ROWS;
    const int first = int(causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * TILE;
    const Rows from = {qkv + size_t(image) * t * 3 * c + head * width, 3 * size_t(c)};
    const float scale = 1.0f / sqrtf(float(width)), lowest = bits_to_float(MINUS_INFINITY_BITS);

    load<D>(q, from, first, t, width);
    float most[ROWS], total[ROWS], sum[ROWS][D / WARP];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        most[row] = lowest, total[row] = 0.0f;
#pragma unroll
        for (int i = 0; i < D / WARP; i++) sum[row][i] = 0.0f;
    }
    const int end = causal ? min(first + TILE, t) : t;
    for (int keys = 0; keys < end; keys += TILE) {
        __syncthreads();
        load<D>(k, {from.from + c, from.stride}, keys, t, width);
        load<D>(v, {from.from + 2 * c, from.stride}, keys, t, width);
        __syncthreads();
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const int query = first + top + row, key = keys + lane;
            const bool seen = key < t && (!causal || key <= query);
            const float s = seen ? dot<D>(q.at[top + row], k.at[lane]) * scale : lowest;
            const float higher = fmaxf(most[row], warp_max(s));
            const float correction = expf(most[row] - higher);
            most[row] = higher;
            p[top + row][lane] = expf(s - higher);
            total[row] = total[row] * correction + warp_sum(p[top + row][lane]);
#pragma unroll
            for (int i = 0; i < D / WARP; i++) sum[row][i] *= correction;
            __syncwarp();
            add_weighted<D>(sum[row], p[top + row], v);
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const int query = first + top + row;
        if (query >= t) continue;
        store_row<D>(o + (size_t(image) * t + query) * c + head * width, sum[row], 1.0f / total[row], width);
        if (lane == 0) lse[(size_t(image) * heads + head) * t + query] = most[row] + logf(total[row]);
    }
}

// dq if KEYS_STAY is false: a block's queries meet tiles of keys. dk and dv if true: a block's keys meet tiles of
// queries. `stay` and `pass` below are those that stay and those that pass by.
template <int D, bool KEYS_STAY>
DEVICE void backward(unsigned char* memory, const float* qkv, const float* d_o, const float* lse, const float* delta,
                     float* dqkv, int t, int heads, int width, bool causal) {
    Tile<D>* tiles = reinterpret_cast<Tile<D>*>(memory);
    Tile<D>&q = tiles[0], &k = tiles[1], &v = tiles[2], &d = tiles[3];
    float(*p)[WARP] = reinterpret_cast<float(*)[WARP]>(memory + 4 * sizeof(Tile<D>));
    float(*ds)[WARP] = p + TILE;

    const int head = int(blockIdx.y), image = int(blockIdx.z), c = heads * width;
    const int lane = int(threadIdx.x) % WARP, top = int(threadIdx.x) / WARP * ROWS;
    const int first = int(causal && !KEYS_STAY ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * TILE;
    const Rows queries = {qkv + size_t(image) * t * 3 * c + head * width, 3 * size_t(c)};
    const Rows keys = {queries.from + c, queries.stride}, values = {queries.from + 2 * c, queries.stride};
    const Rows d_rows = {d_o + size_t(image) * t * c + head * width, size_t(c)};
    const float scale = 1.0f / sqrtf(float(width));
    lse += (size_t(image) * heads + head) * t;
    delta += (size_t(image) * heads + head) * t;

    if (KEYS_STAY) {
        load<D>(k, keys, first, t, width);
        load<D>(v, values, first, t, width);
    } else {
        load<D>(q, queries, first, t, width);
        load<D>(d, d_rows, first, t, width);
    }
    float sum[ROWS][D / WARP] = {};                   // dq or dk
    float dv[KEYS_STAY ? ROWS : 1][D / WARP] = {};
    const int begin = causal && KEYS_STAY ? first : 0;
    const int end = causal && !KEYS_STAY ? min(first + TILE, t) : t;
    for (int pass = begin; pass < end; pass += TILE) {
        __syncthreads();
        if (KEYS_STAY) {
            load<D>(q, queries, pass, t, width);
            load<D>(d, d_rows, pass, t, width);
        } else {
            load<D>(k, keys, pass, t, width);
            load<D>(v, values, pass, t, width);
        }
        __syncthreads();
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const int q_row = KEYS_STAY ? lane : top + row, k_row = KEYS_STAY ? top + row : lane;
            const int query = (KEYS_STAY ? pass : first) + q_row, key = (KEYS_STAY ? first : pass) + k_row;
            float probability = 0.0f, slope = 0.0f;
            if (query < t && key < t && (!causal || key <= query)) {
                probability = expf(dot<D>(q.at[q_row], k.at[k_row]) * scale - lse[query]);
                slope = probability * (dot<D>(d.at[q_row], v.at[k_row]) - delta[query]) * scale;
            }
            p[top + row][lane] = probability;
            ds[top + row][lane] = slope;
            __syncwarp();
            add_weighted<D>(sum[row], ds[top + row], KEYS_STAY ? q : k);
            if (KEYS_STAY) add_weighted<D>(dv[KEYS_STAY ? row : 0], p[top + row], d);
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        if (first + top + row >= t) continue;
        float* to = dqkv + (size_t(image) * t + first + top + row) * 3 * c + head * width;
        store_row<D>(to + (KEYS_STAY ? c : 0), sum[row], 1.0f, width);
        if (KEYS_STAY) store_row<D>(to + 2 * c, dv[KEYS_STAY ? row : 0], 1.0f, width);
    }
}

}  // namespace exact

#define ATTENTION(D)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) attention_##D(                                                  \
        const float* qkv, float* o, float* lse, int t, int heads, int width, int causal) {                            \
        DYNAMIC_SHARED(memory, exact::FORWARD_SHARED<D>);                                                             \
        exact::forward<D>(memory, qkv, o, lse, t, heads, width, causal);                                              \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_##D(                                      \
        const float* qkv, const float* d_o, const float* lse, const float* delta, float* dqkv, int t, int heads,      \
        int width, int causal) {                                                                                      \
        DYNAMIC_SHARED(memory, exact::BACKWARD_SHARED<D>);                                                            \
        exact::backward<D, true>(memory, qkv, d_o, lse, delta, dqkv, t, heads, width, causal);                        \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) attention_backward_q_##D(                                       \
        const float* qkv, const float* d_o, const float* lse, const float* delta, float* dqkv, int t, int heads,      \
        int width, int causal) {                                                                                      \
        DYNAMIC_SHARED(memory, exact::BACKWARD_SHARED<D>);                                                            \
        exact::backward<D, false>(memory, qkv, d_o, lse, delta, dqkv, t, heads, width, causal);                       \
    }

ATTENTION_KERNELS
#undef ATTENTION

#endif
