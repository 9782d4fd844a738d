//! The sixteen lanes in registers of x86-64: one of AVX-512, or two of AVX2.

use super::lanes::{Kernel, LANES, Lanes, array, of_array};
use super::loops::Loops;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Runs a kernel with AVX-512.
///
/// # Safety
/// The processor has it.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn run_avx512<K: Kernel<f32>>(kernel: K) -> K::Output {
    kernel.run::<Avx512<false>>()
}

/// Runs a kernel with AVX-512 and its dot products of bf16 pairs.
///
/// # Safety
/// The processor has both.
#[target_feature(enable = "avx512bf16,avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn run_avx512_bf16<K: Kernel<f32>>(kernel: K) -> K::Output {
    kernel.run::<Avx512<true>>()
}

/// Runs a kernel with AVX2.
///
/// # Safety
/// The processor has it.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn run_avx2<K: Kernel<f32>>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// Runs loops of plain Rust with AVX-512.
///
/// # Safety
/// The processor has it.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn loops_avx512<L: Loops>(loops: L) -> L::Output {
    loops.run(true)
}

/// Runs loops of plain Rust with AVX2.
///
/// # Safety
/// The processor has it.
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn loops_avx2<L: Loops>(loops: L) -> L::Output {
    loops.run(false)
}

/// One register of sixteen numbers. Only exists inside [`run_avx512`] or, with BF16, [`run_avx512_bf16`]; that is why
/// its methods may use AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const BF16: bool>(__m512);

/// The even and the odd numbers of pairs.
#[inline(always)]
unsafe fn numbers_512(pairs: __m512) -> [__m512; 2] {
    unsafe {
        let (bits, upper) = (_mm512_castps_si512(pairs), _mm512_set1_epi32(0xffff_0000_u32 as i32));
        let (even, odd) = (_mm512_slli_epi32::<16>(bits), _mm512_and_si512(bits, upper));
        [_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd)]
    }
}

/// a · b + c, zeros in place of subnormal numbers; and whether some need a closer look: [`super::bf16::fma`].
#[inline(always)]
unsafe fn fma_512(a: __m512, b: __m512, c: __m512) -> (__m512, u32) {
    unsafe {
        let sum = _mm512_fmadd_ps(a, b, c);
        let (size, least) = (_mm512_abs_ps(sum), _mm512_set1_ps(f32::MIN_POSITIVE));
        let small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(size, least);
        let sum = _mm512_mask_and_ps(sum, small, sum, _mm512_set1_ps(-0.0));
        (sum, u32::from(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(size, least)))
    }
}

/// As [`numbers_512`].
#[inline(always)]
unsafe fn numbers_256(pairs: __m256) -> [__m256; 2] {
    unsafe {
        let (bits, upper) = (_mm256_castps_si256(pairs), _mm256_set1_epi32(0xffff_0000_u32 as i32));
        let (even, odd) = (_mm256_slli_epi32::<16>(bits), _mm256_and_si256(bits, upper));
        [_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd)]
    }
}

/// As [`fma_512`].
#[inline(always)]
unsafe fn fma_256(a: __m256, b: __m256, c: __m256) -> (__m256, i32) {
    unsafe {
        let sum = _mm256_fmadd_ps(a, b, c);
        let (sign, least) = (_mm256_set1_ps(-0.0), _mm256_set1_ps(f32::MIN_POSITIVE));
        let size = _mm256_andnot_ps(sign, sum);
        let small = _mm256_cmp_ps::<_CMP_LT_OQ>(size, least);
        let sum = _mm256_blendv_ps(sum, _mm256_and_ps(sum, sign), small);
        (sum, _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(size, least)))
    }
}

/// Both numbers of pairs.
#[inline(always)]
unsafe fn pairs_256(a: __m256, b: __m256, c: __m256) -> (__m256, i32) {
    unsafe {
        let ([a_even, a_odd], [b_even, b_odd]) = (numbers_256(a), numbers_256(b));
        let (sum, first) = fma_256(a_odd, b_odd, c);
        let (sum, second) = fma_256(a_even, b_even, sum);
        (sum, first | second)
    }
}

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n.min(LANES)) - 1) as __mmask16
}

/// Of four rows, whose pairs were taken apart: the columns within each half of the registers.
#[inline(always)]
unsafe fn fours([a, b]: [__m256; 2], [c, d]: [__m256; 2]) -> [__m256; 4] {
    unsafe {
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(a, c),
            _mm256_shuffle_ps::<0b11_10_11_10>(a, c),
            _mm256_shuffle_ps::<0b01_00_01_00>(b, d),
            _mm256_shuffle_ps::<0b11_10_11_10>(b, d),
        ]
    }
}

/// The transpose of an 8 × 8 matrix.
#[inline(always)]
unsafe fn transpose_8(rows: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    unsafe {
        // Pairs of rows, then fours, each within its half of the register; then halves change places.
        let pairs = [
            [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)],
            [_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d)],
            [_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f)],
            [_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h)],
        ];
        let [a, b, c, d] = fours(pairs[0], pairs[1]);
        let [e, f, g, h] = fours(pairs[2], pairs[3]);
        [
            _mm256_permute2f128_ps::<0x20>(a, e),
            _mm256_permute2f128_ps::<0x20>(b, f),
            _mm256_permute2f128_ps::<0x20>(c, g),
            _mm256_permute2f128_ps::<0x20>(d, h),
            _mm256_permute2f128_ps::<0x31>(a, e),
            _mm256_permute2f128_ps::<0x31>(b, f),
            _mm256_permute2f128_ps::<0x31>(c, g),
            _mm256_permute2f128_ps::<0x31>(d, h),
        ]
    }
}

/// The transpose of a 16 × 16 matrix, whose rows are given in halves, by its blocks of 8 × 8. In loops, not by closures,
/// which need not become a part of the kernel.
#[inline(always)]
unsafe fn transpose_halves(rows: [[__m256; 2]; LANES]) -> [[__m256; 2]; LANES] {
    let mut columns = rows;
    for down in [0, 8] {
        for across in 0..2 {
            let mut block = [rows[0][0]; 8];
            for i in 0..8 {
                block[i] = rows[down + i][across];
            }
            // SAFETY: the caller's kernel has these instructions.
            let block = unsafe { transpose_8(block) };
            for j in 0..8 {
                columns[8 * across + j][down / 8] = block[j];
            }
        }
    }
    columns
}

// SAFETY of all that follows: see the type; memory is the caller's promise.
impl<const BF16: bool> Lanes for Avx512<BF16> {
    type Scalar = f32;
    // 24 sums, 2 columns, and the rest for rows: 32 registers.
    const TILE_ROWS: usize = 12;
    const TILE_COLUMNS: usize = 2;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(mask(n), from) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, mask(n), self.0) }
    }
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let (mut columns, mut halves) = (rows, [[unsafe { _mm256_setzero_ps() }; 2]; LANES]);
        for i in 0..LANES {
            let row = rows[i].0;
            halves[i] = unsafe { [_mm512_castps512_ps256(row), _mm512_extractf32x8_ps::<1>(row)] };
        }
        let halves = unsafe { transpose_halves(halves) };
        for j in 0..LANES {
            let [lower, upper] = halves[j];
            columns[j].0 = unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(lower), upper) };
        }
        columns
    }
    #[inline(always)]
    fn first(self, n: usize, rest: Self) -> Self {
        Self(unsafe { _mm512_mask_mov_ps(rest.0, mask(n), self.0) })
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, b.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<0>(self.0) })
    }
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        Self(unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_cvtps_epi32(n.0));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), exponent))
        })
    }
    #[inline(always)]
    fn pairs(even: Self, odd: Self) -> Self {
        if !BF16 {
            return of_array(<[f32; LANES]>::pairs(array(even), array(odd)));
        }
        Self(unsafe {
            let even = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(even.0)));
            let odd = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(odd.0)));
            _mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd)))
        })
    }
    #[inline(always)]
    fn neighbours(first: Self, last: Self) -> Self {
        if !BF16 {
            return of_array(<[f32; LANES]>::neighbours(array(first), array(last)));
        }
        Self(unsafe { transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(last.0, first.0)) })
    }
    #[inline(always)]
    fn fma_pairs(self, b: Self, c: Self) -> Self {
        if !BF16 {
            // SAFETY: as above.
            let in_parts = unsafe {
                let ([a_even, a_odd], [b_even, b_odd]) = (numbers_512(self.0), numbers_512(b.0));
                let (sum, first) = fma_512(a_odd, b_odd, c.0);
                let (sum, second) = fma_512(a_even, b_even, sum);
                (first | second == 0).then_some(Self(sum))
            };
            return match in_parts {
                Some(sum) => sum,
                None => of_array(array(self).fma_pairs(array(b), array(c))),
            };
        }
        Self(unsafe {
            _mm512_dpbf16_ps(c.0, transmute::<__m512, __m512bh>(self.0), transmute::<__m512, __m512bh>(b.0))
        })
    }
}

/// Two registers of eight numbers. Only exists inside [`run_avx2`].
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

/// All bits in the lanes before `n`, lanes counted from `start`.
#[inline(always)]
fn lanes_before(n: usize, start: i32) -> __m256i {
    unsafe {
        let lane = _mm256_add_epi32(_mm256_set1_epi32(start), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(LANES) as i32), lane)
    }
}

macro_rules! both {
    ($f:ident, $($x:expr),+) => { Self(unsafe { $f($($x.0),+) }, unsafe { $f($($x.1),+) }) };
}

impl Lanes for Avx2 {
    type Scalar = f32;
    // 12 of 16 registers for sums, 2 for columns.
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        let x = unsafe { _mm256_set1_ps(x) };
        Self(x, x)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        unsafe {
            Self(
                _mm256_maskload_ps(from, lanes_before(n, 0)),
                _mm256_maskload_ps(from.wrapping_add(8), lanes_before(n, 8)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe {
            _mm256_maskstore_ps(to, lanes_before(n, 0), self.0);
            _mm256_maskstore_ps(to.wrapping_add(8), lanes_before(n, 8), self.1);
        }
    }
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let (mut columns, mut halves) = (rows, [[rows[0].0; 2]; LANES]);
        for i in 0..LANES {
            halves[i] = [rows[i].0, rows[i].1];
        }
        let halves = unsafe { transpose_halves(halves) };
        for j in 0..LANES {
            columns[j] = Self(halves[j][0], halves[j][1]);
        }
        columns
    }
    #[inline(always)]
    fn first(self, n: usize, rest: Self) -> Self {
        unsafe {
            Self(
                _mm256_blendv_ps(rest.0, self.0, _mm256_castsi256_ps(lanes_before(n, 0))),
                _mm256_blendv_ps(rest.1, self.1, _mm256_castsi256_ps(lanes_before(n, 8))),
            )
        }
    }
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        both!(_mm256_add_ps, self, b)
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        both!(_mm256_sub_ps, self, b)
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        both!(_mm256_mul_ps, self, b)
    }
    #[inline(always)]
    fn div(self, b: Self) -> Self {
        both!(_mm256_div_ps, self, b)
    }
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        both!(_mm256_max_ps, self, b)
    }
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        both!(_mm256_min_ps, self, b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        both!(_mm256_sqrt_ps, self)
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        both!(_mm256_fmadd_ps, self, b, c)
    }
    #[inline(always)]
    fn round(self) -> Self {
        unsafe {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            Self(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1))
        }
    }
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        #[inline(always)]
        fn half(x: __m256, n: __m256) -> __m256 {
            unsafe {
                let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
                _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent))
            }
        }
        Self(half(self.0, n.0), half(self.1, n.1))
    }
    #[inline(always)]
    fn pairs(even: Self, odd: Self) -> Self {
        of_array(<[f32; LANES]>::pairs(array(even), array(odd)))
    }
    #[inline(always)]
    fn neighbours(first: Self, last: Self) -> Self {
        of_array(<[f32; LANES]>::neighbours(array(first), array(last)))
    }
    #[inline(always)]
    fn fma_pairs(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        let in_parts = unsafe {
            let ((low, first), (high, second)) = (pairs_256(self.0, b.0, c.0), pairs_256(self.1, b.1, c.1));
            (first | second == 0).then_some(Self(low, high))
        };
        match in_parts {
            Some(sum) => sum,
            None => of_array(array(self).fma_pairs(array(b), array(c))),
        }
    }
}
