//! Token vectors and position vectors, and their gradients.
//!
//! `x[b, t] = wte[token] + wpe[t]`, with `sos` in place of a token's vector at t = 0 of a sequence to be predicted, and
//! nothing in its place where a token is masked.

use crate::simd::{Kernel, LANES, Lanes, Number};

/// Adds the sum of some rows, `width` channels of each from `channel` on, to a vector. Sums of [`ROWS`] rows are added
/// one after the other: a colour that is everywhere has thousands.
pub(super) struct SumRows<'a, S> {
    pub(super) dx: &'a [S],
    pub(super) c: usize,
    pub(super) rows: &'a [u32],
    pub(super) channel: usize,
    /// At most [`LANES`].
    pub(super) width: usize,
    pub(super) to: *mut S,
}

const ROWS: usize = 64;

impl<S: Number> Kernel<S> for SumRows<'_, S> {
    type Output = ();
    #[inline(always)]
    fn run<V: Lanes<Scalar = S>>(self) {
        let Self { dx, c, rows, channel, width, to } = self;
        // SAFETY: the caller gives rows of dx, and `width` numbers of its own to add to.
        unsafe {
            let mut total = V::read(to, width);
            for rows in rows.chunks(ROWS) {
                let mut sum = V::zero();
                for row in rows {
                    let at = *row as usize * c + channel;
                    debug_assert!(at + width <= dx.len());
                    sum = sum.add(V::read(dx.as_ptr().add(at), width));
                }
                total = total.add(sum);
            }
            total.write(to, width);
        }
    }
}

/// Channels that one task sums.
pub(super) const CHANNELS: usize = LANES;
