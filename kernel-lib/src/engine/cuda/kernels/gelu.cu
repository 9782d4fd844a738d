// Quick-GELU:
//
//   y = x s      s = σ(1.702 x)      dx = dy (s + 1.702 x s (1 - s))

constexpr float GELU_SLOPE = 1.702f;

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

DEVICE int left_of(size_t n, size_t at) { return n - at < 8 ? int(n - at) : 8; }

// x → y. Block 256, eight numbers a thread.
extern "C" __global__ void gelu(const rounded* x, rounded* y, size_t n) {
    const size_t at = 8 * (size_t(blockIdx.x) * 256 + threadIdx.x);
    if (at >= n) return;
    float a[8];
    load_8(x + at, left_of(n, at), true, a);
#pragma unroll
    for (int i = 0; i < 8; i++) a[i] *= sigmoid(GELU_SLOPE * a[i]);
    store_8(y + at, left_of(n, at), true, a);
}

// dy → dx, and x → y: both in place, for the next product needs y.
extern "C" __global__ void gelu_backward(rounded* x, rounded* dy, size_t n) {
    const size_t at = 8 * (size_t(blockIdx.x) * 256 + threadIdx.x);
    if (at >= n) return;
    float a[8], slope[8];
    load_8(x + at, left_of(n, at), true, a);
    load_8(dy + at, left_of(n, at), true, slope);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float scaled = GELU_SLOPE * a[i], s = sigmoid(scaled);
        slope[i] *= s * (1.0f + scaled * (1.0f - s));
        a[i] *= s;
    }
    store_8(dy + at, left_of(n, at), true, slope);
    store_8(x + at, left_of(n, at), true, a);
}
