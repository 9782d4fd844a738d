//! A component's values.

use super::{
    frame::{BLOCK, Component, SIDE},
    idct,
};

/// The values of a component, in rows.
#[derive(Debug)]
pub(super) struct Plane {
    values: Vec<u8>,
    stride: usize,
    /// Values across and down, without the padding of the last blocks.
    pub size: (usize, usize),
    pub sampling: (usize, usize),
}

impl Plane {
    /// From its coefficients.
    pub(super) fn of(component: Component) -> Self {
        let Component { size, sampling, blocks, stride, coefficients, quantization, .. } = component;
        // Every component of a whole image has had a scan, and so a table.
        let factors = idct::factors(&quantization.unwrap_or([0; BLOCK]));
        let (values_in_row, of_row) = (stride * SIDE, stride * BLOCK);
        let mut values = vec![0; values_in_row * blocks.1 * SIDE];
        let rows = values.chunks_exact_mut(of_row.max(1)).zip(coefficients.chunks_exact(of_row.max(1)));
        for (values, coefficients) in rows {
            for (x, block) in coefficients.as_chunks::<BLOCK>().0.iter().take(blocks.0).enumerate() {
                idct::values(block, &factors, &mut values[x * SIDE..], values_in_row);
            }
        }
        Self { values, stride: values_in_row, size, sampling }
    }

    /// A row, without padding.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        &self.values[y * self.stride..][..self.size.0]
    }
}
