// Attention without ever holding its T × T matrix (Dao, "FlashAttention-2"). For each query i over the keys j that it
// sees (j ≤ i if causal), head by head:
//
//   sᵢⱼ = qᵢ · kⱼ / √width        pᵢⱼ = e^(sᵢⱼ - lseᵢ)        lseᵢ = ln Σⱼ e^sᵢⱼ        oᵢ = Σⱼ pᵢⱼ vⱼ
//   dvⱼ = Σᵢ pᵢⱼ doᵢ     dpᵢⱼ = doᵢ · vⱼ     dsᵢⱼ = pᵢⱼ (dpᵢⱼ - δᵢ) / √width     dqᵢ = Σⱼ dsᵢⱼ kⱼ     dkⱼ = Σᵢ dsᵢⱼ qᵢ
//
// with δᵢ = doᵢ · oᵢ. qkv: (B·T, 3C), o: (B·T, C), lse and delta: (B, H, T).

// Eight lanes to a head of a token. It strides over what there is, whatever the grid.
extern "C" __global__ void attention_delta(const rounded* o, const rounded* d_o, float* delta, int images, int t,
                                           int heads, int width) {
    constexpr int LANES = 8;
    const size_t block = blockIdx.x + gridDim.x * (blockIdx.y + size_t(gridDim.y) * blockIdx.z);
    const size_t blocks = size_t(gridDim.x) * gridDim.y * gridDim.z;
    const u32 threads = blockDim.x * blockDim.y, thread = threadIdx.x + blockDim.x * threadIdx.y;
    const size_t count = size_t(images) * t * heads;
    const bool aligned = width % 8 == 0;
    const size_t group = (block * threads + thread) / LANES, groups = blocks * threads / LANES;
    const size_t lead = (block * threads + thread) / WARP * (WARP / LANES);  // the warp's first group: all lanes agree
    for (size_t skip = 0; lead + skip < count; skip += groups) {
        // (token, head): o's numbers of one head of one token are `width` in a row.
        const size_t i = group + skip;
        float sum = 0.0f;
        for (int at = 8 * int(thread % LANES); i < count && at < width; at += 8 * LANES) {
            float a[8], b[8];
            load_8(o + i * width + at, width - at, aligned, a);
            load_8(d_o + i * width + at, width - at, aligned, b);
#pragma unroll
            for (int k = 0; k < 8; k++) sum += a[k] * b[k];
        }
#pragma unroll
        for (int lanes = LANES / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, lanes);
        if (i < count && thread % LANES == 0) {
            const size_t token = i / heads;
            delta[(token / t * heads + i % heads) * t + token % t] = sum;
        }
    }
}

#if ROUNDED_BF16

// On tensor cores: bf16 factors, f32 sums. A block has 4 warps and 64·M rows: each warp has M times 16 rows (queries, or
// keys in the backward pass's first kernel), and meets N of the others at once. Scores stay in registers: a product's
// sums lie over the lanes as the left factor of the next product wants them, two tiles of 8 columns making one of 16.
namespace flash {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;

// How far rows of a tile lie apart in shared memory: an odd number of 16-byte pieces, so that eight rows which
// `load_matrices` reads together lie in different banks.
template <int D> constexpr int ROW = D + 8;

// Rows of one head of one image, `stride` numbers apart.
struct Rows {
    const bf16* from;
    size_t stride;
};

// Which head of which image this block works on, and where its rows are.
struct Head {
    int t, width, c;
    Rows q, k, v;
    size_t o;    // where its rows begin in (B·T, C)
    size_t lse;  // where its numbers begin in (B, H, T)
    __device__ __forceinline__ Head(const bf16* qkv, int t, int heads, int width) : t(t), width(width), c(heads * width) {
        const size_t head = blockIdx.y, image = blockIdx.z, stride = 3 * size_t(c);
        const bf16* from = qkv + image * t * stride + head * width;
        q = {from, stride}, k = {from + c, stride}, v = {from + 2 * c, stride};
        o = image * t * c + head * width;
        lse = (image * heads + head) * t;
    }
};

// Starts to load COUNT tokens from `first` on; zeros stand for tokens from t on, and channels from `width` on.
template <int D, int COUNT> DEVICE void load_tile(bf16* to, Rows rows, int first, const Head& head) {
    if (head.width % 8 == 0) {
        constexpr int PIECES = D / 8;
#pragma unroll
        for (int start = 0; start < COUNT * PIECES; start += THREADS) {
            const int i = start + int(threadIdx.x), row = i / PIECES, channel = i % PIECES * 8;
            const bool real = first + row < head.t && channel < head.width;
            const bf16* from = rows.from + (real ? size_t(first + row) * rows.stride + channel : 0);
            if (COUNT * PIECES % THREADS == 0 || i < COUNT * PIECES) copy_async<16>(to + row * ROW<D> + channel, from, real);
        }
    } else {
        for (int i = int(threadIdx.x); i < COUNT * D; i += THREADS) {
            const int row = i / D, channel = i % D;
            const bool real = first + row < head.t && channel < head.width;
            to[row * ROW<D> + channel] = real ? rows.from[size_t(first + row) * rows.stride + channel] : bf16{0};
        }
    }
}

// Starts to load COUNT numbers of a vector (T); zeros from t on.
template <int COUNT> DEVICE void load_vector(float* to, const float* from, int first, int t) {
    const int i = int(threadIdx.x);
    if (i < COUNT) copy_async<4>(to + i, from + (first + i < t ? first + i : 0), first + i < t);
}

// c += a bᵀ, where a are M times 16 rows of D channels and b are N rows: (16 M, N).
template <int D, int M, int N> DEVICE void add_products(float (&c)[M][N / 8][4], const bf16* a, const bf16* b) {
    const int lane = int(threadIdx.x) % WARP;
    // Left factor: rows 0 .. 15 at channel 0, then at 8. Right: rows 0 .. 7 at channels 0 and 8, then rows 8 .. 15.
    a += lane % 16 * ROW<D> + lane / 16 * 8;
    b += (lane / 16 * 8 + lane % 8) * ROW<D> + lane / 8 % 2 * 8;
#pragma unroll
    for (int depth = 0; depth < D; depth += 16) {
        u32 left[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) load_matrices(left[m], a + 16 * m * ROW<D> + depth);
#pragma unroll
        for (int n = 0; n < N; n += 16) {
            u32 right[4];
            load_matrices(right, b + n * ROW<D> + depth);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma(c[m][n / 8], left[m], right[0], right[1]);
                mma(c[m][n / 8 + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// c += p b, where p is (16 M, N), in registers as sums of a product, and b are N rows of D channels: (16 M, D).
template <int D, int M, int N>
DEVICE void add_weighted(float (&c)[M][D / 8][4], const float (&p)[M][N / 8][4], const bf16* b) {
    const int lane = int(threadIdx.x) % WARP;
    b += lane % 16 * ROW<D> + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < N; n += 16) {
        u32 left[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            const float(&near)[4] = p[m][n / 8], (&far)[4] = p[m][n / 8 + 1];
            left[m][0] = pack_bf16(near[0], near[1]), left[m][1] = pack_bf16(near[2], near[3]);
            left[m][2] = pack_bf16(far[0], far[1]), left[m][3] = pack_bf16(far[2], far[3]);
        }
#pragma unroll
        for (int channel = 0; channel < D; channel += 16) {
            u32 right[4];
            load_matrices_transposed(right, b + n * ROW<D> + channel);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma(c[m][channel / 8], left[m], right[0], right[1]);
                mma(c[m][channel / 8 + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// Sums of a product lie so: x[m][n][i] is in row 16 m + row_of(i), column 8 n + column_of(i).
DEVICE int row_of(int i) { return int(threadIdx.x) % WARP / 4 + i / 2 * 8; }
DEVICE int column_of(int i) { return int(threadIdx.x) % 4 * 2 + i % 2; }

template <int M, int N> DEVICE void clear(float (&x)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int n = 0; n < N; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) x[m][n][i] = 0.0f;
        }
    }
}

template <int M, int N> DEVICE void multiply(float (&x)[M][N][4], const float (&by)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int n = 0; n < N; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) x[m][n][i] *= by[m][n][i];
        }
    }
}

// Rows `first` on of `to`, which lie `stride` apart, become x times a factor of each row.
template <int M, int N>
DEVICE void store_rows(bf16* to, size_t stride, int first, const Head& head, const float (&x)[M][N][4],
                       const float (&factor)[M][2]) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = first + 16 * m + row_of(2 * half);
            if (row >= head.t) continue;
            bf16* at = to + size_t(row) * stride;
#pragma unroll
            for (int n = 0; n < N; n++) {
                const int column = 8 * n + column_of(0);
                const float a = x[m][n][2 * half] * factor[m][half], b = x[m][n][2 * half + 1] * factor[m][half];
                if (head.width % 2 == 0) {
                    if (column < head.width) *reinterpret_cast<u32*>(at + column) = pack_bf16(a, b);
                } else {
                    if (column < head.width) store(at + column, a);
                    if (column + 1 < head.width) store(at + column + 1, b);
                }
            }
        }
    }
}

// The sum, or the largest, over the four lanes that share a row.
DEVICE float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}
DEVICE float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}

// The tile of this block. If causal, the last queries see most keys; they begin first, lest they end last.
template <int ROWS> DEVICE int first_query(bool causal) {
    return int(causal ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * ROWS;
}

template <int D, int M, int N> constexpr u32 FORWARD_SHARED = 2 * ROW<D> * (64 * M + 2 * N);

// While a tile's scores are computed its values arrive, and while those are added up the next keys.
template <int D, int M, int N>
DEVICE void forward(unsigned char* memory, const bf16* qkv, bf16* o, float* lse, int t, int heads, int width,
                    bool causal) {
    constexpr int QUERIES = 64 * M;
    bf16* q = reinterpret_cast<bf16*>(memory);
    bf16* k = q + QUERIES * ROW<D>;
    bf16* v = k + N * ROW<D>;
    const Head head(qkv, t, heads, width);
    const int first = first_query<QUERIES>(causal), warp_rows = int(threadIdx.x) / WARP * 16 * M;
    const int mine = first + warp_rows;  // this warp's first query
    const float scale = 1.0f / sqrtf(float(width)), scale_2 = scale * LOG2_E;

    load_tile<D, QUERIES>(q, head.q, first, head);
    load_tile<D, N>(k, head.k, 0, head);
    float sum[M][D / 8][4], most[M][2], total[M][2];
    clear(sum);
#pragma unroll
    for (int m = 0; m < M; m++) {
        most[m][0] = most[m][1] = bits_to_float(MINUS_INFINITY_BITS);
        total[m][0] = total[m][1] = 0.0f;
    }
    const int end = causal ? min(first + QUERIES, t) : t;
    for (int keys = 0; keys < end; keys += N) {
        copies_done();
        __syncthreads();
        load_tile<D, N>(v, head.v, keys, head);
        const bool seen = !causal || keys < mine + 16 * M;  // by any of the warp's queries
        float s[M][N / 8][4];
        clear(s);
        if (seen) add_products<D, M, N>(s, q + warp_rows * ROW<D>, k);
        copies_done();
        __syncthreads();
        if (keys + N < end) load_tile<D, N>(k, head.k, keys + N, head);
        if (!seen) continue;

        if (keys + N > t || (causal && keys + N > mine)) {
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int n = 0; n < N / 8; n++) {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int query = mine + 16 * m + row_of(i), key = keys + 8 * n + column_of(i);
                        if (key >= t || (causal && key > query)) s[m][n][i] = bits_to_float(MINUS_INFINITY_BITS);
                    }
                }
            }
        }
        // s becomes 2^(s - most), with s in units of 2; what was summed with a former maximum is corrected.
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float higher = most[m][half];
#pragma unroll
                for (int n = 0; n < N / 8; n++) {
                    higher = fmaxf(higher, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
                }
                higher = row_max(higher);
                const float correction = exp_2((most[m][half] - higher) * scale_2);
                const float shift = higher * scale_2;
                most[m][half] = higher;
                float row = 0.0f;
#pragma unroll
                for (int n = 0; n < N / 8; n++) {
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; i++) {
                        s[m][n][i] = exp_2(s[m][n][i] * scale_2 - shift);
                        row += s[m][n][i];
                    }
                }
                total[m][half] = total[m][half] * correction + row;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    sum[m][n][2 * half] *= correction;
                    sum[m][n][2 * half + 1] *= correction;
                }
            }
        }
        add_weighted<D, M, N>(sum, s, v);
    }
    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float all = row_sum(total[m][half]);
            const int query = mine + 16 * m + row_of(2 * half);
            factor[m][half] = 1.0f / all;
            if (query < t && threadIdx.x % 4 == 0) lse[head.lse + query] = most[m][half] * scale + logf(all);
        }
    }
    store_rows(o + head.o, size_t(head.c), mine, head, sum, factor);
}

// The same factor for all rows.
template <int M> struct Factors {
    float at[M][2];
    __device__ __forceinline__ explicit Factors(float factor) {
#pragma unroll
        for (int m = 0; m < M; m++) at[m][0] = at[m][1] = factor;
    }
};

template <int D, int M, int N> constexpr u32 BACKWARD_KV_SHARED = 2 * ROW<D> * (128 * M + 4 * N) + 16 * N;

// dk and dv of 64·M keys: tiles of N queries pass by, the next arriving while one is worked on. All products are
// transposed, (keys, queries), so that keys are rows and the sums over queries stay with their warp. Queries from t on
// are zeros, as are their do, lse and δ: they add nothing.
template <int D, int M, int N>
DEVICE void backward_kv(unsigned char* memory, const bf16* qkv, const bf16* d_o, const float* lse, const float* delta,
                        bf16* dqkv, int t, int heads, int width, bool causal) {
    constexpr int KEYS = 64 * M;
    struct Pass {
        bf16 q[N * ROW<D>], d[N * ROW<D>];
        float lse[N], delta[N];
    };
    bf16* k = reinterpret_cast<bf16*>(memory);
    bf16* v = k + KEYS * ROW<D>;
    Pass* passes = reinterpret_cast<Pass*>(v + KEYS * ROW<D>);
    const Head head(qkv, t, heads, width);
    const Rows d_rows = {d_o + head.o, size_t(head.c)};
    const int first = int(blockIdx.x) * KEYS, warp_rows = int(threadIdx.x) / WARP * 16 * M;
    const int mine = first + warp_rows;  // this warp's first key
    const float scale = 1.0f / sqrtf(float(width)), scale_2 = scale * LOG2_E;
    const auto load_pass = [&](Pass& to, int queries) {
        load_tile<D, N>(to.q, head.q, queries, head);
        load_tile<D, N>(to.d, d_rows, queries, head);
        load_vector<N>(to.lse, lse + head.lse, queries, t);
        load_vector<N>(to.delta, delta + head.lse, queries, t);
    };

    const int begin = causal ? first : 0;
    load_tile<D, KEYS>(k, head.k, first, head);
    load_tile<D, KEYS>(v, head.v, first, head);
    load_pass(passes[0], begin);
    float dk[M][D / 8][4], dv[M][D / 8][4];
    clear(dk);
    clear(dv);
    for (int queries = begin, turn = 0; queries < t; queries += N, turn ^= 1) {
        copies_done();
        __syncthreads();
        if (queries + N < t) load_pass(passes[turn ^ 1], queries + N);
        if (causal && queries + N <= mine) continue;  // none of these sees any of the warp's keys
        const Pass& pass = passes[turn];

        // pᵀ = e^(k qᵀ / √width - lse)
        float p[M][N / 8][4], ds[M][N / 8][4];
        clear(p);
        add_products<D, M, N>(p, k + warp_rows * ROW<D>, pass.q);
        const bool mask = causal && queries < mine + 16 * M;
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float shift = pass.lse[8 * n + column_of(i)] * LOG2_E;
#pragma unroll
                for (int m = 0; m < M; m++) {
                    p[m][n][i] = exp_2(p[m][n][i] * scale_2 - shift);
                    if (mask && queries + 8 * n + column_of(i) < mine + 16 * m + row_of(i)) p[m][n][i] = 0.0f;
                }
            }
        }
        // dv += pᵀ do
        add_weighted<D, M, N>(dv, p, pass.d);
        // dsᵀ = pᵀ (v doᵀ - δ), times 1 / √width in the end; the sums begin at -δ
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float begin = -pass.delta[8 * n + column_of(i)];
#pragma unroll
                for (int m = 0; m < M; m++) ds[m][n][i] = begin;
            }
        }
        add_products<D, M, N>(ds, v + warp_rows * ROW<D>, pass.d);
        multiply(ds, p);
        // dk += dsᵀ q
        add_weighted<D, M, N>(dk, ds, pass.q);
    }
    bf16* to = dqkv + (head.q.from - qkv) + head.c;
    store_rows(to, head.k.stride, mine, head, dk, Factors<M>(scale).at);
    store_rows(to + head.c, head.v.stride, mine, head, dv, Factors<M>(1.0f).at);
}

template <int D, int M, int N> constexpr u32 BACKWARD_Q_SHARED = 2 * ROW<D> * (128 * M + 4 * N);

// dq of 64·M queries: tiles of N keys and values pass by.
template <int D, int M, int N>
DEVICE void backward_q(unsigned char* memory, const bf16* qkv, const bf16* d_o, const float* lse, const float* delta,
                       bf16* dqkv, int t, int heads, int width, bool causal) {
    constexpr int QUERIES = 64 * M;
    struct Pass {
        bf16 k[N * ROW<D>], v[N * ROW<D>];
    };
    bf16* q = reinterpret_cast<bf16*>(memory);
    bf16* d = q + QUERIES * ROW<D>;
    Pass* passes = reinterpret_cast<Pass*>(d + QUERIES * ROW<D>);
    const Head head(qkv, t, heads, width);
    const int first = first_query<QUERIES>(causal), warp_rows = int(threadIdx.x) / WARP * 16 * M;
    const int mine = first + warp_rows;  // this warp's first query
    const float scale = 1.0f / sqrtf(float(width)), scale_2 = scale * LOG2_E;
    const auto load_pass = [&](Pass& to, int keys) {
        load_tile<D, N>(to.k, head.k, keys, head);
        load_tile<D, N>(to.v, head.v, keys, head);
    };

    load_tile<D, QUERIES>(q, head.q, first, head);
    load_tile<D, QUERIES>(d, {d_o + head.o, size_t(head.c)}, first, head);
    load_pass(passes[0], 0);
    float lse_2[M][2], shift[M][2], dq[M][D / 8][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = mine + 16 * m + row_of(2 * half);
            lse_2[m][half] = query < t ? lse[head.lse + query] * LOG2_E : 0.0f;
            shift[m][half] = query < t ? delta[head.lse + query] : 0.0f;
        }
    }
    clear(dq);
    const int end = causal ? min(first + QUERIES, t) : t;
    for (int keys = 0, turn = 0; keys < end; keys += N, turn ^= 1) {
        copies_done();
        __syncthreads();
        if (keys + N < end) load_pass(passes[turn ^ 1], keys + N);
        if (causal && keys >= mine + 16 * M) continue;  // none of the warp's queries sees any of these
        const Pass& pass = passes[turn];

        // p = e^(q kᵀ / √width - lse)
        float p[M][N / 8][4], ds[M][N / 8][4];
        clear(p);
        add_products<D, M, N>(p, q + warp_rows * ROW<D>, pass.k);
        const bool mask = keys + N > t || (causal && keys + N > mine);
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int n = 0; n < N / 8; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    p[m][n][i] = exp_2(p[m][n][i] * scale_2 - lse_2[m][i / 2]);
                    const int query = mine + 16 * m + row_of(i), key = keys + 8 * n + column_of(i);
                    if (mask && (key >= t || (causal && key > query))) p[m][n][i] = 0.0f;
                    ds[m][n][i] = -shift[m][i / 2];
                }
            }
        }
        // ds = p (do vᵀ - δ), times 1 / √width in the end; the sums begin at -δ
        add_products<D, M, N>(ds, d + warp_rows * ROW<D>, pass.v);
        multiply(ds, p);
        // dq += ds k
        add_weighted<D, M, N>(dq, ds, pass.k);
    }
    store_rows(dqkv + (head.q.from - qkv), head.q.stride, mine, head, dq, Factors<M>(scale).at);
}

}  // namespace flash

// Heads of D channels; M and N of the three kernels. Which there are is said by the program (engine/cuda/attention.rs).
#define ATTENTION(D, M, N, M_KV, N_KV, M_Q, N_Q)                                                                      \
    extern "C" __global__ void __launch_bounds__(128) attention_##D(                                                  \
        const bf16* qkv, bf16* o, float* lse, int t, int heads, int width, int causal) {                              \
        DYNAMIC_SHARED(memory, (flash::FORWARD_SHARED<D, M, N>));                                                     \
        flash::forward<D, M, N>(memory, qkv, o, lse, t, heads, width, causal);                                        \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) attention_backward_kv_##D(                                      \
        const bf16* qkv, const bf16* d_o, const float* lse, const float* delta, bf16* dqkv, int t, int heads,         \
        int width, int causal) {                                                                                      \
        DYNAMIC_SHARED(memory, (flash::BACKWARD_KV_SHARED<D, M_KV, N_KV>));                                           \
        flash::backward_kv<D, M_KV, N_KV>(memory, qkv, d_o, lse, delta, dqkv, t, heads, width, causal);               \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) attention_backward_q_##D(                                       \
        const bf16* qkv, const bf16* d_o, const float* lse, const float* delta, bf16* dqkv, int t, int heads,         \
        int width, int causal) {                                                                                      \
        DYNAMIC_SHARED(memory, (flash::BACKWARD_Q_SHARED<D, M_Q, N_Q>));                                              \
        flash::backward_q<D, M_Q, N_Q>(memory, qkv, d_o, lse, delta, dqkv, t, heads, width, causal);                  \
    }

ATTENTION_KERNELS
#undef ATTENTION

#endif
