// Attention without ever holding its T × T matrix (Dao, "FlashAttention-2"). For each query i over the keys j that it
// sees (j ≤ i if causal), head by head:
//
//   sᵢⱼ = qᵢ · kⱼ / √width        pᵢⱼ = e^(sᵢⱼ - lseᵢ)        lseᵢ = ln Σⱼ e^sᵢⱼ        oᵢ = Σⱼ pᵢⱼ vⱼ
//   dvⱼ = Σᵢ pᵢⱼ doᵢ     dpᵢⱼ = doᵢ · vⱼ     dsᵢⱼ = pᵢⱼ (dpᵢⱼ - δᵢ) / √width     dqᵢ = Σⱼ dsᵢⱼ kⱼ     dkⱼ = Σᵢ dsᵢⱼ qᵢ
//
// with δᵢ = doᵢ · oᵢ. qkv: (B·T, 3C), o: (B·T, C), lse and delta: (B, H, T).

// Eight lanes to a head of a token. It strides over what there is, whatever the grid.
extern "C" __global__ void attention_delta(const rounded* o, const rounded* d_o, float* delta, int pictures, int t,
                                           int heads, int width) {
    constexpr int LANES = 8;
    const size_t block = blockIdx.x + gridDim.x * (blockIdx.y + size_t(gridDim.y) * blockIdx.z);
    const size_t blocks = size_t(gridDim.x) * gridDim.y * gridDim.z;
    const u32 threads = blockDim.x * blockDim.y, thread = threadIdx.x + blockDim.x * threadIdx.y;
    const size_t count = size_t(pictures) * t * heads;
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
