// Softmax and cross-entropy of rows of logits z with target y and weight w:
//
//   loss = w (ln Σⱼ e^zⱼ - z_y)      dzⱼ = w (e^zⱼ / Σ e^z - [j = y])

// logits: (rows, V); become their gradients times `scale` if `gradient`. A warp per row.
extern "C" __global__ void cross_entropy(rounded* logits, const u16* targets, const float* weights, float* losses,
                                         int rows, int v, int gradient, float scale) {
    const int row = warp_row();
    if (row >= rows) return;
    const int lane = int(threadIdx.x), target = targets[row];
    const bool aligned = rows_aligned(v);
    rounded* z = logits + size_t(row) * v;

    float most = bits_to_float(MINUS_INFINITY_BITS);
    for (int at = 8 * lane; at < v; at += 8 * WARP) {
        float a[8];
        load_8(z + at, v - at, aligned, a);
#pragma unroll
        for (int i = 0; i < 8; i++) most = i < v - at ? fmaxf(most, a[i]) : most;
    }
    most = warp_max(most);

    float sum = 0.0f;
    for (int at = 8 * lane; at < v; at += 8 * WARP) {
        float a[8];
        load_8(z + at, v - at, aligned, a);
#pragma unroll
        for (int i = 0; i < 8; i++) sum += i < v - at ? expf(a[i] - most) : 0.0f;
    }
    sum = warp_sum(sum);

    const float weight = weights[row];
    if (lane == 0) losses[row] = weight * (logf(sum) + (most - to_float(z[target])));
    if (!gradient) return;
    // Nothing is overwritten before the target's logit was read.
    __syncwarp();
    const float factor = weight * scale;
    for (int at = 8 * lane; at < v; at += 8 * WARP) {
        float a[8];
        load_8(z + at, v - at, aligned, a);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float p = expf(a[i] - most) / sum;
            a[i] = (at + i == target ? p - 1.0f : p) * factor;
        }
        store_8(z + at, v - at, aligned, a);
    }
}

// *total += Σ losses, in double. One block of 256.
extern "C" __global__ void sum_losses(const float* losses, double* total, int rows) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (int row = int(threadIdx.x); row < rows; row += 256) sum += double(losses[row]);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) *total += sum;
}
