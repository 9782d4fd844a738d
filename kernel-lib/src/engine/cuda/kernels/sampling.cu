// A step of sampling: one token of each sequence, whose keys and values join those of the tokens before it.

// x = vector of the token before + vector of the position: (B, C). `tokens`: (B), null at the start. A warp per row.
extern "C" __global__ void embed_one(const u16* tokens, int position, const float* wte, const float* sos,
                                     const float* wpe, float* x, int rows, int c) {
    const int row = warp_row();
    if (row >= rows) return;
    const float* vector = tokens ? wte + size_t(tokens[row]) * c : sos;
    const float* of_position = wpe + size_t(position) * c;
    const bool aligned = rows_aligned(c);
    for (int at = 8 * int(threadIdx.x); at < c; at += 8 * WARP) {
        float sum[8], token[8];
        load_8(of_position + at, c - at, aligned, sum);
        load_8(vector + at, c - at, aligned, token);
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] += token[i];
        store_8(x + size_t(row) * c + at, c - at, aligned, sum);
    }
}

constexpr int ONE_THREADS = 128;
constexpr int ONE_SCRATCH = 256;  // numbers of shared memory beside the T scores
constexpr int KEY_LANES = 8;      // lanes that share a key

// qkv: (B, 3C), keys, values: (B, H, T, width), o: (B, C). Stores the token's k and v at `position`, then o is the
// attention over all up to it. Grid (H, B), block 128, (T + 256) * 4 bytes of dynamic shared memory.
extern "C" __global__ void attention_one(const rounded* qkv, rounded* keys, rounded* values, rounded* o, int position,
                                         int t, int heads, int width) {
    DYNAMIC_SHARED(memory, 4 * (t + ONE_SCRATCH));
    float* scores = reinterpret_cast<float*>(memory);  // (T)
    float* scratch = scores + t;                       // q, later sums of values
    __shared__ float warps[ONE_THREADS / WARP];
    const int thread = int(threadIdx.x), lane = thread % WARP, warp = thread / WARP;
    const int head = int(blockIdx.x), image = int(blockIdx.y), c = heads * width, count = position + 1;
    const bool aligned = width % 8 == 0;

    const rounded* q = qkv + size_t(image) * 3 * c + head * width;
    keys += (size_t(image) * heads + head) * t * width;
    values += (size_t(image) * heads + head) * t * width;
    for (int i = thread; i < width; i += ONE_THREADS) {
        scratch[i] = to_float(q[i]);
        keys[size_t(position) * width + i] = q[c + i];
        values[size_t(position) * width + i] = q[2 * c + i];
    }
    __syncthreads();

    // scores = q kᵀ / √width, eight lanes to a key. The loop is as long for every lane, lest some miss the sums.
    const float scale = 1.0f / sqrtf(float(width));
    const int group = thread / KEY_LANES, groups = ONE_THREADS / KEY_LANES;
    float most = bits_to_float(MINUS_INFINITY_BITS);
    for (int start = 0; start < count; start += groups) {
        const int key = start + group;
        float score = 0.0f;
        for (int at = 8 * (thread % KEY_LANES); key < count && at < width; at += 8 * KEY_LANES) {
            float k[8];
            load_8(keys + size_t(key) * width + at, width - at, aligned, k);
#pragma unroll
            for (int i = 0; i < 8; i++) score += i < width - at ? k[i] * scratch[at + i] : 0.0f;
        }
#pragma unroll
        for (int lanes = KEY_LANES / 2; lanes > 0; lanes /= 2) score += __shfl_xor_sync(ALL_LANES, score, lanes);
        if (key < count) {
            score *= scale;
            most = fmaxf(most, score);
            if (thread % KEY_LANES == 0) scores[key] = score;
        }
    }
    most = warp_max(most);
    if (lane == 0) warps[warp] = most;
    __syncthreads();
    most = fmaxf(fmaxf(warps[0], warps[1]), fmaxf(warps[2], warps[3]));
    __syncthreads();

    // p = e^(scores - most), and their sum.
    float sum = 0.0f;
    for (int key = thread; key < count; key += ONE_THREADS) {
        const float p = expf(scores[key] - most);
        scores[key] = p;
        sum += p;
    }
    sum = warp_sum(sum);
    if (lane == 0) warps[warp] = sum;
    __syncthreads();
    sum = warps[0] + warps[1] + warps[2] + warps[3];

    // o = p v / sum: a thread per channel; where channels are fewer than threads, several share the keys of one.
    const int shares = max(ONE_THREADS / width, 1), share = thread / width;
    for (int channel = shares > 1 ? thread % width : thread; channel < width; channel += ONE_THREADS) {
        float total = 0.0f;
        for (int key = share; share < shares && key < count; key += shares) {
            total += scores[key] * to_float(values[size_t(key) * width + channel]);
        }
        if (share < shares) scratch[share * width + channel] = total;
        if (shares > 1) break;
    }
    __syncthreads();
    for (int channel = thread; channel < width; channel += ONE_THREADS) {
        float total = 0.0f;
        for (int i = 0; i < shares; i++) total += scratch[i * width + channel];
        store(o + size_t(image) * c + head * width + channel, total / sum);
    }
}
