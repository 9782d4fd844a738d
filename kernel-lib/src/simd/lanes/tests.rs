//! Every operation, with every set of instructions that this processor has, against the same of plain Rust.

use super::*;
use crate::rng::Rng;
use crate::simd::{Isa, Scalar};

/// Numbers at which sets of instructions differ if they are used wrongly: without a value, without end, near the ends of the
/// exponents, half way between whole numbers, zeros of both signs.
const SPECIAL: [f32; 20] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    0.0,
    -0.0,
    f32::MIN_POSITIVE,
    -1e-45,
    1e-40,
    f32::MAX,
    f32::MIN,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.499_999_97,
    8_388_607.5,
    3e9,
    86.5,
    -104.0,
];

/// The operations on these numbers.
struct All {
    a: [f32; LANES],
    b: [f32; LANES],
    c: [f32; LANES],
    /// Whole numbers.
    powers: [f32; LANES],
    /// How many lanes are the first ones.
    n: usize,
}

/// What each gives, in bits.
type Found = Vec<(&'static str, Vec<u32>)>;

fn bits<V: Lanes<Scalar = f32>>(lanes: V) -> Vec<u32> {
    array(lanes).map(f32::to_bits).to_vec()
}

impl Kernel<f32> for All {
    type Output = Found;
    #[inline(always)]
    fn run<V: Lanes<Scalar = f32>>(self) -> Found {
        let [a, b, c] = [self.a, self.b, self.c].map(of_array::<V>);
        let mut stored = [9.0; LANES];
        // SAFETY: the arrays have 16 numbers, which is at least n. The first of none is read nowhere.
        let [loaded, none] = unsafe {
            c.write(stored.as_mut_ptr(), self.n);
            [V::read(self.a.as_ptr(), self.n), V::read(std::ptr::null(), 0)]
        };
        let one = |x: f32| vec![x.to_bits()];
        vec![
            ("load and store", bits(a)),
            ("read", bits(loaded)),
            ("read of none", bits(none)),
            ("write", stored.map(f32::to_bits).to_vec()),
            ("first", bits(a.first(self.n, b))),
            ("splat", bits(V::splat(self.c[0]))),
            ("add", bits(a.add(b))),
            ("sub", bits(a.sub(b))),
            ("mul", bits(a.mul(b))),
            ("div", bits(a.div(b))),
            ("max", bits(a.max(b))),
            ("min", bits(a.min(b))),
            ("sqrt", bits(a.sqrt())),
            ("fma", bits(a.fma(b, c))),
            ("round", bits(a.round())),
            ("times_power_of_two", bits(V::constant(-1.375).times_power_of_two(of_array(self.powers)))),
            ("exp", bits(a.exp())),
            ("sigmoid", bits(a.sigmoid())),
            ("pairs", bits(V::pairs(a, b))),
            ("neighbours", bits(V::neighbours(a, b))),
            ("sum", one(a.sum())),
            ("largest", one(a.largest())),
        ]
    }
}

/// Sixteen numbers of one kind: special ones, of any size, or of the size that networks have.
fn numbers(rng: &mut Rng, kind: usize) -> [f32; LANES] {
    std::array::from_fn(|_| match kind {
        0 => SPECIAL[rng.below(SPECIAL.len())],
        1 => f32::from_bits(rng.bits() as u32),
        _ => (4.0 * rng.normal()) as f32,
    })
}

/// The same bits, or NaN, whose bits nobody looks at.
fn same(a: u32, b: u32) -> bool {
    a == b || f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan()
}

#[test]
fn every_operation_gives_the_bits_of_plain_rust() {
    let mut rng = Rng::keyed(1, "lanes", [0, 0]);
    for round in 0..6_000 {
        let [a, b, c] = std::array::from_fn(|_| numbers(&mut rng, round % 3));
        let powers = std::array::from_fn(|_| rng.below(241) as f32 - 120.0);
        let all = || All { a, b, c, powers, n: round % (LANES + 1) };
        let expected = f32::run(Isa::Portable, all());
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for ((name, found), (_, expected)) in f32::run(isa, all()).iter().zip(&expected) {
                let equal = found.iter().zip(expected).all(|(a, b)| same(*a, *b));
                assert!(equal, "{isa:?}, {name}: {found:x?}, not {expected:x?}, of {a:?}, {b:?}, {c:?}");
            }
        }
    }
}

/// What plain Rust gives, where it must be known: the second number where one is NaN, halves to the even number, and the
/// exponential of NaN.
#[test]
fn what_is_not_a_number_and_what_is_half_way_are_as_documented() {
    let of = |a: f32, b: f32| {
        let all = All { a: [a; LANES], b: [b; LANES], c: [0.0; LANES], powers: [1.0; LANES], n: 3 };
        let found = f32::run(Isa::best(), all);
        move |name: &str| f32::from_bits(found.iter().find(|(found, _)| *found == name).unwrap().1[15])
    };
    for name in ["max", "min"] {
        assert_eq!(of(f32::NAN, 2.0)(name), 2.0);
        assert!(of(2.0, f32::NAN)(name).is_nan());
        assert!(of(0.0, -0.0)(name).is_sign_negative() && of(-0.0, 0.0)(name).is_sign_positive());
    }
    assert_eq!([of(3.0, 2.0)("max"), of(3.0, 2.0)("min")], [3.0, 2.0]);
    assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| of(x, 0.0)("round")), [0.0, 2.0, 2.0, 0.0, -2.0]);
    assert!(of(f32::NAN, 0.0)("exp").is_nan() && of(f32::NAN, 0.0)("sigmoid").is_nan());
    assert_eq!(of(f32::INFINITY, 0.0)("exp"), of(86.0, 0.0)("exp"));
}

struct Transposed([[f32; LANES]; LANES]);

impl Kernel<f32> for Transposed {
    type Output = [[u32; LANES]; LANES];
    #[inline(always)]
    fn run<V: Lanes<Scalar = f32>>(self) -> Self::Output {
        let mut rows = [V::zero(); LANES];
        for (row, numbers) in rows.iter_mut().zip(self.0) {
            *row = of_array(numbers);
        }
        let mut found = [[0; LANES]; LANES];
        for (to, column) in found.iter_mut().zip(V::transpose(rows)) {
            *to = array(column).map(f32::to_bits);
        }
        found
    }
}

#[test]
fn a_transpose_moves_each_number_as_it_is() {
    // Any bits: pairs of bf16 are moved, too.
    let bits = |i: usize, j: usize| ((i * 977 + j * 65_537) as u32).wrapping_mul(7919) ^ 0x7f80_0001;
    let rows = std::array::from_fn(|i| std::array::from_fn(|j| f32::from_bits(bits(i, j))));
    let expected: [[u32; LANES]; LANES] = std::array::from_fn(|j| std::array::from_fn(|i| bits(i, j)));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        assert_eq!(f32::run(isa, Transposed(rows)), expected, "{isa:?}");
    }
}
