//! The inverse cosine transform: from a block's coefficients to its values.
//!
//! In whole numbers, so that every machine gives the same: cosines times 2¹³, first down the columns, which keep two more
//! bits than they need, then along the rows. libjpeg's usual transform (ISLOW) has these cosines, these two more bits and
//! this rounding, and sums are exact in between: so the values are the same.

use super::frame::{BLOCK, SIDE};

/// Bits of the cosines behind the point.
const COSINE: u32 = 13;
/// Bits more that columns keep.
const MORE: u32 = 2;
/// The last shift: the transform is 8 times too large.
const LAST: u32 = COSINE + MORE + 3;

/// Eight rows of eight numbers. All fit into 16 bits, which keeps the compiler's vectors short.
type Square = [[i16; SIDE]; SIDE];

/// What a block's coefficients are multiplied with. A factor of more than 15 bits makes any coefficient but 0 too large,
/// and so does the largest that fits.
pub(super) fn factors(table: &[u16; BLOCK]) -> Square {
    std::array::from_fn(|y| std::array::from_fn(|x| table[y * SIDE + x].min(i16::MAX as u16) as i16))
}

/// The values of a block, 8 rows of 8, `stride` apart.
pub(super) fn values(coefficients: &[i16; BLOCK], factors: &Square, output: &mut [u8], stride: usize) {
    let rows = output.chunks_mut(stride).take(SIDE);
    if coefficients[1..].iter().all(|value| *value == 0) {
        let value = (i32::from(clamp(i32::from(coefficients[0]) * i32::from(factors[0][0]))) + 4) >> 3;
        rows.for_each(|row| row[..SIDE].fill(to_byte(value)));
        return;
    }
    // As they were before they were divided. What no encoder writes is brought to 16 bits, so that no sum is too large.
    let mut whole: Square = [[0; SIDE]; SIDE];
    let coefficients = coefficients.as_chunks::<SIDE>().0;
    for ((whole, coefficients), factors) in whole.iter_mut().zip(coefficients).zip(factors) {
        for ((whole, coefficient), factor) in whole.iter_mut().zip(coefficients).zip(factors) {
            *whole = clamp(i32::from(*coefficient) * i32::from(*factor));
        }
    }
    let between = transposed(&transform::<{ COSINE - MORE }>(&whole));
    let values = transposed(&transform::<LAST>(&between));
    for (row, values) in rows.zip(values) {
        for (byte, value) in row.iter_mut().zip(values) {
            *byte = to_byte(value.into());
        }
    }
}

fn clamp(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// Values are stored 128 too small.
fn to_byte(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

fn transposed(square: &Square) -> Square {
    std::array::from_fn(|y| std::array::from_fn(|x| square[x][y]))
}

/// Transforms each column, eight at once, and rounds away `SHIFT` bits; without that, numbers are 2¹³ √8 times too large.
/// The constants are √2 cos(k π / 16) times 2¹³, or sums of these, as the fast method of Loeffler, Ligtenberg and
/// Moschytz (1989) rounds them.
#[inline]
fn transform<const SHIFT: u32>(rows: &Square) -> Square {
    let mut output: Square = [[0; SIDE]; SIDE];
    for x in 0..SIDE {
        let c: [i32; SIDE] = std::array::from_fn(|y| i32::from(rows[y][x]));
        let (sum, difference) = ((c[0] + c[4]) << COSINE, (c[0] - c[4]) << COSINE);
        let (slow, fast) = (10_703 * c[2] + 4_433 * c[6], 4_433 * c[2] - 10_704 * c[6]);
        let half = 1 << (SHIFT - 1);
        let even = [sum + slow + half, difference + fast + half, difference - fast + half, sum - slow + half];
        let odd = [
            11_363 * c[1] + 9_633 * c[3] + 6_437 * c[5] + 2_260 * c[7],
            9_633 * c[1] - 2_259 * c[3] - 11_362 * c[5] - 6_436 * c[7],
            6_437 * c[1] - 11_362 * c[3] + 2_261 * c[5] + 9_633 * c[7],
            2_260 * c[1] - 6_436 * c[3] + 9_633 * c[5] - 11_363 * c[7],
        ];
        for y in 0..SIDE / 2 {
            output[y][x] = clamp((even[y] + odd[y]) >> SHIFT);
            output[SIDE - 1 - y][x] = clamp((even[y] - odd[y]) >> SHIFT);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in floating point.
    fn exact(coefficients: &[i16; BLOCK], x: usize, y: usize) -> f64 {
        let cosine = |k: usize, at: usize| {
            let norm = if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
            norm * (std::f64::consts::PI * (2 * at + 1) as f64 * k as f64 / 16.0).cos() / 2.0
        };
        let of = |at: usize| f64::from(coefficients[at]) * cosine(at % SIDE, x) * cosine(at / SIDE, y);
        (0..BLOCK).map(of).sum::<f64>() + 128.0
    }

    #[test]
    fn values_are_those_of_the_definition() {
        let mut chance = 1_u32;
        let mut blocks: Vec<[i16; BLOCK]> = (0..200)
            .map(|count| {
                let mut block = [0; BLOCK];
                for _ in 0..count % 65 {
                    chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    block[(chance >> 10) as usize % BLOCK] = (chance >> 20) as i16 % 150 - 75;
                }
                block
            })
            .collect();
        blocks.push([i16::MIN; BLOCK]);
        blocks.push([i16::MAX; BLOCK]);
        for (number, block) in blocks.iter().enumerate() {
            let (mut output, is_extreme) = (vec![0; 8 * 11], number >= 200);
            let table = [if is_extreme { u16::MAX } else { 1 }; BLOCK];
            values(block, &factors(&table), &mut output, 11);
            for (x, y) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y))).filter(|_| !is_extreme) {
                let expected = exact(block, x, y).clamp(0.0, 255.0);
                let found = f64::from(output[y * 11 + x]);
                assert!((found - expected).abs() < 0.6, "block {number}, {x}, {y}: {found}, not {expected}");
            }
        }
    }
}
