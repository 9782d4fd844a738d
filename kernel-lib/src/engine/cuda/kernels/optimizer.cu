// Adam with decoupled weight decay, and the clipping of gradients:
//
//   m ← β₁ m + (1 - β₁) g      v ← β₂ v + (1 - β₂) g²
//   θ ← θ - rate · decay · θ - rate · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + ε)

struct Adam {
    float rate, correction_1, correction_2, scale, beta_1, beta_2, epsilon, decay;

    __device__ __forceinline__ void update(float& theta, float g, float& m, float& v) const {
        g *= scale;
        m = beta_1 * m + (1.0f - beta_1) * g;
        v = beta_2 * v + (1.0f - beta_2) * g * g;
        theta -= rate * decay * theta;
        theta -= rate * (m * correction_1) / (sqrtf(v * correction_2) + epsilon);
    }
};

// `step`, on the device so that clipping need not wait for the host: rate, 1 / (1 - β₁ᵗ), 1 / (1 - β₂ᵗ), and what
// gradients are multiplied by. `copy`: the new parameters in bf16, or null. Block 256, four numbers a thread.
//
// A group of parameters begins anywhere in its buffer, but at the same place in each of the buffers: threads begin
// `skip` numbers before it, at a multiple of 16 bytes, so that all but the first and last move whole vectors.
extern "C" __global__ void adam(float* parameters, const float* gradients, float* m, float* v, u16* copy,
                                const float* step, float beta_1, float beta_2, float epsilon, float decay, size_t n) {
    const Adam adam = {step[0], step[1], step[2], step[3], beta_1, beta_2, epsilon, decay};
    const size_t skip = size_t(parameters) % 16 / 4;
    const auto misplaced = [skip](const void* buffer, size_t each) { return size_t(buffer) % (4 * each) != skip * each; };
    const bool aligned = !(misplaced(gradients, 4) || misplaced(m, 4) || misplaced(v, 4) || (copy && misplaced(copy, 2)));
    const size_t stride = 4 * size_t(gridDim.x) * 256;
    for (size_t at = 4 * (size_t(blockIdx.x) * 256 + threadIdx.x); at < n + skip; at += stride) {
        if (aligned && at >= skip && at + 4 - skip <= n) {
            const size_t i = at - skip;
            float4 theta = *reinterpret_cast<float4*>(parameters + i);
            const float4 g = *reinterpret_cast<const float4*>(gradients + i);
            float4 m_at = *reinterpret_cast<float4*>(m + i), v_at = *reinterpret_cast<float4*>(v + i);
            adam.update(theta.x, g.x, m_at.x, v_at.x);
            adam.update(theta.y, g.y, m_at.y, v_at.y);
            adam.update(theta.z, g.z, m_at.z, v_at.z);
            adam.update(theta.w, g.w, m_at.w, v_at.w);
            *reinterpret_cast<float4*>(parameters + i) = theta;
            *reinterpret_cast<float4*>(m + i) = m_at;
            *reinterpret_cast<float4*>(v + i) = v_at;
            if (copy) {
                *reinterpret_cast<uint2*>(copy + i) = uint2{pack_bf16(theta.x, theta.y), pack_bf16(theta.z, theta.w)};
            }
        } else {
            for (size_t i = at < skip ? skip : at; i < at + 4 && i < n + skip; i++) {
                const size_t k = i - skip;
                adam.update(parameters[k], gradients[k], m[k], v[k]);
                if (copy) copy[k] = u16(pack_bf16(parameters[k], 0.0f));
            }
        }
    }
}

// parts[block] = Σ x² of what the block strides over. Grid 512, block 256.
extern "C" __global__ void square_sum(const float* x, double* parts, size_t n) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (size_t i = size_t(blockIdx.x) * 256 + threadIdx.x; i < n; i += size_t(gridDim.x) * 256) {
        sum += double(x[i]) * double(x[i]);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// norm = √(Σ parts), and what gradients are multiplied by so that their norm is at most `most` (0: anything). One block
// of 256.
extern "C" __global__ void clip_scale(const double* parts, int count, float* step, float* norm, float most) {
    __shared__ double shared[256];
    double sum = 0.0;
    for (int i = int(threadIdx.x); i < count; i += 256) sum += parts[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        const double found = sqrt(sum);
        *norm = float(found);
        step[3] = most > 0.0f && found > double(most) ? float(double(most) / found) : 1.0f;
    }
}
