// The mean of an image's tokens, which a classification head sees.

// y[image] = mean over its T rows of x: (B, T, C) → (B, C). Block (32, 8): 32 channels, each of whose rows are added up by 8
// threads, whose sums are then added up. Grid (B, ceil(C / 32)).
extern "C" __global__ void mean(const rounded* x, rounded* y, int t, int c) {
    __shared__ float sums[8][32];
    const int channel = int(blockIdx.y * 32 + threadIdx.x);
    x += size_t(blockIdx.x) * t * c;
    float sum = 0.0f;
    if (channel < c) {
        for (int row = int(threadIdx.y); row < t; row += 8) sum += to_float(x[size_t(row) * c + channel]);
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    for (int half = 4; half > 0; half /= 2) {
        __syncthreads();
        if (int(threadIdx.y) < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
    }
    if (threadIdx.y == 0 && channel < c) store(y + size_t(blockIdx.x) * c + channel, sums[0][threadIdx.x] / float(t));
}

// dx[row] = dy[row / T] / T: (B, C) → (B, T, C). A warp per row.
extern "C" __global__ void mean_backward(const rounded* dy, rounded* dx, int rows, int t, int c) {
    const int row = warp_row();
    if (row >= rows) return;
    dy += size_t(row / t) * c;
    dx += size_t(row) * c;
    for (int channel = int(threadIdx.x); channel < c; channel += WARP) {
        store(dx + channel, to_float(dy[channel]) / float(t));
    }
}
