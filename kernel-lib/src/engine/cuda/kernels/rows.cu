// Copies of rows, and of numbers in bf16.

// to[i] = from[rows[i]]: (count, C). A warp per row.
extern "C" __global__ void gather(const float* from, const u32* rows, float* to, int count, int c) {
    const int row = warp_row();
    if (row >= count) return;
    const bool aligned = rows_aligned(c);
    for (int at = 8 * int(threadIdx.x); at < c; at += 8 * WARP) {
        float a[8];
        load_8(from + size_t(rows[row]) * c + at, c - at, aligned, a);
        store_8(to + size_t(row) * c + at, c - at, aligned, a);
    }
}

// to[rows[i]] = from[i].
extern "C" __global__ void scatter(const rounded* from, const u32* rows, rounded* to, int count, int c) {
    const int row = warp_row();
    if (row >= count) return;
    const bool aligned = rows_aligned(c);
    for (int at = 8 * int(threadIdx.x); at < c; at += 8 * WARP) {
        float a[8];
        load_8(from + size_t(row) * c + at, c - at, aligned, a);
        store_8(to + size_t(rows[row]) * c + at, c - at, aligned, a);
    }
}

// Block 256, eight numbers a thread.
extern "C" __global__ void round_to_bf16(const float* from, u16* to, size_t n) {
    const size_t at = 8 * (size_t(blockIdx.x) * 256 + threadIdx.x);
    if (at >= n) return;
    float a[8];
    load_8(from + at, left_of(n, at), true, a);
    store_8(reinterpret_cast<bf16*>(to) + at, left_of(n, at), true, a);
}
