// RMSNorm, row by row:
//
//   y = x · rstd · weight      rstd = 1 / √(mean(x²) + 10⁻⁵)
//   dx = rstd · weight · dy - x · rstd³ · mean(x · weight · dy)      dweight = Σ rows dy · x · rstd

constexpr float NORM_EPSILON = 1e-5f;

// 1 / √(mean(x²) + 10⁻⁵) of one row, in every lane of the warp.
DEVICE float inverse_root(const float* x, int c, bool aligned) {
    float squares = 0.0f;
    for (int at = 8 * int(threadIdx.x % WARP); at < c; at += 8 * WARP) {
        float a[8];
        load_8(x + at, c - at, aligned, a);
#pragma unroll
        for (int i = 0; i < 8; i++) squares += a[i] * a[i];
    }
    return 1.0f / sqrtf(warp_sum(squares) / float(c) + NORM_EPSILON);
}

// x, y: (rows, C), rstd: (rows). A warp per row; it reads the row a second time from the cache.
extern "C" __global__ void rms_norm(const float* x, const float* weight, rounded* y, float* rstd, int rows, int c) {
    const int row = warp_row();
    if (row >= rows) return;
    const bool aligned = rows_aligned(c);
    x += size_t(row) * c;
    y += size_t(row) * c;
    const float root = inverse_root(x, c, aligned);
    if (threadIdx.x == 0) rstd[row] = root;
    for (int at = 8 * int(threadIdx.x); at < c; at += 8 * WARP) {
        float a[8], g[8];
        load_8(x + at, c - at, aligned, a);
        load_8(weight + at, c - at, aligned, g);
#pragma unroll
        for (int i = 0; i < 8; i++) a[i] = a[i] * root * g[i];
        store_8(y + at, c - at, aligned, a);
    }
}

constexpr int NORM_ROWS = 64;                  // rows of a block of rms_norm_backward
constexpr int NORM_WARPS = 8;                  // its warps
constexpr int STRIP = 8 * WARP;                // channels that a warp has at once
constexpr int WARP_ROWS = NORM_ROWS / NORM_WARPS;

// dx += the RMSNorm's gradient, parts[block] = Σ its 64 rows of dy x rstd: (ceil(rows / 64), C). Block 256, grid
// ceil(rows / 64). A row's mean(x g dy) must be known before any of its channels can be written, so rows are read
// twice; the second time a strip of 256 channels after the other, over all rows, so that the weight's sums of a strip
// stay in registers whatever C is.
extern "C" __global__ void __launch_bounds__(256)
    rms_norm_backward(const rounded* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ weight,
                  const float* __restrict__ rstd, rounded* __restrict__ dx, float* __restrict__ parts, int rows, int c) {
    __shared__ float sums[NORM_WARPS][STRIP];
    const int warp = int(threadIdx.x) / WARP, lane = int(threadIdx.x) % WARP;
    const int first = int(blockIdx.x) * NORM_ROWS + warp;  // this warp's rows: first, first + 8, ..
    const bool aligned = rows_aligned(c);

    float root[WARP_ROWS], back[WARP_ROWS];
#pragma unroll
    for (int i = 0; i < WARP_ROWS; i++) {
        const int row = first + i * NORM_WARPS;
        const size_t start = size_t(row) * c;
        float inner = 0.0f;
        for (int at = 8 * lane; row < rows && at < c; at += STRIP) {
            float dy_at[8], x_at[8], g[8];
            load_8(dy + start + at, c - at, aligned, dy_at);
            load_8(x + start + at, c - at, aligned, x_at);
            load_8(weight + at, c - at, aligned, g);
#pragma unroll
            for (int k = 0; k < 8; k++) inner += dy_at[k] * g[k] * x_at[k];
        }
        root[i] = row < rows ? rstd[row] : 0.0f;
        back[i] = -warp_sum(inner) * root[i] * root[i] * root[i] / float(c);
    }

    for (int strip = 0; strip < c; strip += STRIP) {
        const int at = strip + 8 * lane;
        float g[8] = {}, sum[8] = {};
        if (at < c) load_8(weight + at, c - at, aligned, g);
#pragma unroll
        for (int i = 0; i < WARP_ROWS; i++) {
            const int row = first + i * NORM_WARPS;
            if (row >= rows || at >= c) continue;
            const size_t start = size_t(row) * c + at;
            float dy_at[8], x_at[8], dx_at[8];
            load_8(dy + start, c - at, aligned, dy_at);
            load_8(x + start, c - at, aligned, x_at);
            load_8(dx + start, c - at, aligned, dx_at);
#pragma unroll
            for (int k = 0; k < 8; k++) {
                const float scaled = dy_at[k] * root[i];
                dx_at[k] += scaled * g[k] + x_at[k] * back[i];
                sum[k] += scaled * x_at[k];
            }
            store_8(dx + start, c - at, aligned, dx_at);
        }
        // The warps' sums, added in order.
#pragma unroll
        for (int k = 0; k < 8; k++) sums[warp][8 * lane + k] = sum[k];
        __syncthreads();
        const int channel = strip + int(threadIdx.x);
        if (channel < c) {
            float total = 0.0f;
#pragma unroll
            for (int other = 0; other < NORM_WARPS; other++) total += sums[other][threadIdx.x];
            parts[size_t(blockIdx.x) * c + channel] = total;
        }
        __syncthreads();
    }
}

// to[channel] += Σ parts[i][channel], parts: (count, C). Block (32, 8), grid ceil(C / 32).
extern "C" __global__ void sum_parts(const float* parts, float* to, int count, int c) {
    __shared__ float sums[8][WARP];
    const int channel = int(blockIdx.x * WARP + threadIdx.x);
    float sum = 0.0f;
    if (channel < c) {
        for (int i = int(threadIdx.y); i < count; i += 8) sum += parts[size_t(i) * c + channel];
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    for (int half = 4; half > 0; half /= 2) {
        __syncthreads();
        if (int(threadIdx.y) < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
    }
    if (threadIdx.y == 0 && channel < c) to[channel] += sums[0][threadIdx.x];
}

constexpr int MEAN_CHANNELS = 4096;

// y[image] = mean over its T rows of x · rstd · weight: (B, T, C) → (B, C), for C up to 4096. Grid (B), block 256. Rows go in
// groups of 64 whose sums are added up: errors grow with the root of the number of rows, not with it.
extern "C" __global__ void mean_of_rms_norm(const float* x, const float* weight, float* y, int t, int c) {
    __shared__ float sums[MEAN_CHANNELS];
    __shared__ float roots[NORM_ROWS];
    const int thread = int(threadIdx.x);
    const bool aligned = rows_aligned(c);
    x += size_t(blockIdx.x) * t * c;
    y += size_t(blockIdx.x) * c;
    // A thread has the channels thread, thread + 256, .. to itself.
    for (int channel = thread; channel < c; channel += 256) sums[channel] = 0.0f;
    for (int start = 0; start < t; start += NORM_ROWS) {
        const int rows = min(NORM_ROWS, t - start);
        for (int row = thread / WARP; row < rows; row += NORM_WARPS) {
            const float root = inverse_root(x + size_t(start + row) * c, c, aligned);
            if (thread % WARP == 0) roots[row] = root;
        }
        __syncthreads();
        for (int channel = thread; channel < c; channel += 256) {
            float sum = 0.0f;
            for (int row = 0; row < rows; row++) sum += x[size_t(start + row) * c + channel] * roots[row];
            sums[channel] += sum;
        }
        __syncthreads();
    }
    for (int channel = thread; channel < c; channel += 256) y[channel] = sums[channel] * weight[channel] / float(t);
}
