// Token vectors and position vectors, and their gradients.
//
//   x[b, t] = wte[token] + wpe[t]
//
// with the SOS token's vector in place of a token's at t = 0 of a sequence to be predicted (where the others move on by
// one), and nothing in its place where a token is masked.

// x: (rows, C), rows = B·T. A warp per row.
extern "C" __global__ void embed(const u16* tokens, const u8* masked, const float* wte, const float* sos,
                                 const float* wpe, float* x, int rows, int t, int c, int shifted) {
    const int row = warp_row();
    if (row >= rows) return;
    const int position = row % t;
    const float* vector;
    if (shifted) {
        vector = position == 0 ? sos : wte + size_t(tokens[row - 1]) * c;
    } else {
        vector = masked && masked[row] ? nullptr : wte + size_t(tokens[row]) * c;
    }
    const float* of_position = wpe + size_t(position) * c;
    const bool aligned = rows_aligned(c);
    for (int at = 8 * int(threadIdx.x); at < c; at += 8 * WARP) {
        float sum[8], token[8] = {};
        load_8(of_position + at, c - at, aligned, sum);
        if (vector) load_8(vector + at, c - at, aligned, token);
#pragma unroll
        for (int i = 0; i < 8; i++) sum[i] += token[i];
        store_8(x + size_t(row) * c + at, c - at, aligned, sum);
    }
}

// A vector's gradient is the sum of dx over the rows that it is in. Rows are sorted by vector (`order`) and cut into
// segments of bounded length, so that a colour that is everywhere does not keep one block busy while others idle; first
// each segment is summed, (S, C), then each vector's segments. grid (S, ceil(C / 128)), block 128: a thread per channel.
extern "C" __global__ void embed_backward_parts(const rounded* dx, const u32* order, const u32* segments, float* parts,
                                                int c) {
    const int channel = int(blockIdx.y * 128 + threadIdx.x);
    if (channel >= c) return;
    const u32 segment = blockIdx.x;
    float sum = 0.0f;
    for (u32 j = segments[segment]; j < segments[segment + 1]; j++) {
        sum += to_float(dx[size_t(order[j]) * c + channel]);
    }
    parts[size_t(segment) * c + channel] = sum;
}

// grid (V + 1, ceil(C / 128)), block 128. Destination V is the SOS token.
extern "C" __global__ void embed_backward_tokens(const float* parts, const u32* first, float* dwte, float* dsos, int v,
                                                 int c) {
    const int channel = int(blockIdx.y * 128 + threadIdx.x);
    if (channel >= c) return;
    const int token = int(blockIdx.x);
    if (first[token] == first[token + 1]) return;
    float sum = 0.0f;
    for (u32 s = first[token]; s < first[token + 1]; s++) sum += parts[size_t(s) * c + channel];
    *((token < v ? dwte + size_t(token) * c : dsos) + channel) += sum;
}

// dwpe[t] += Σ images dx[image, t]. grid (T, ceil(C / 128)), block 128.
extern "C" __global__ void embed_backward_positions(const rounded* dx, float* dwpe, int images, int t, int c) {
    const int channel = int(blockIdx.y * 128 + threadIdx.x);
    if (channel >= c) return;
    const int position = int(blockIdx.x);
    float sum = 0.0f;
    for (int image = 0; image < images; image++) {
        sum += to_float(dx[(size_t(image) * t + position) * c + channel]);
    }
    dwpe[size_t(position) * c + channel] += sum;
}
