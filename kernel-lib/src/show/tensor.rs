//! A look into a tensor.

use super::{Cell, Table};
use crate::Result;
use candle_core::{DType, Tensor};

/// How much of a tensor is shown.
const ROWS: usize = 8;
const COLUMNS: usize = 8;

/// The first rows and columns of a tensor, below its shape and type. Leading dimensions are shown at index 0.
///
/// ```
/// use igpt::prelude::*;
///
/// let t = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let table = igpt::show::tensor(&t)?;
/// # Ok::<(), igpt::Error>(())
/// ```
///
/// # Errors
/// If the tensor cannot be copied to the CPU.
pub fn tensor(tensor: &Tensor) -> Result<Table> {
    let whole = tensor.dtype().is_int();
    let shape: Vec<_> = tensor.dims().iter().map(usize::to_string).collect();
    let name = match tensor.dtype() {
        DType::F32 => "f32".to_owned(),
        other => other.as_str().to_owned(),
    };
    let caption = match shape.is_empty() {
        true => format!("One {name}"),
        false => format!("{} of {name}", shape.join(" × ")),
    };
    let mut part = tensor.clone();
    while part.rank() > 2 {
        part = part.get(0)?;
    }
    while part.rank() < 2 {
        part = part.unsqueeze(0)?;
    }
    let (rows, columns) = part.dims2()?;
    let (shown_rows, shown_columns) = (rows.min(ROWS), columns.min(COLUMNS));
    let part = part.narrow(0, 0, shown_rows)?.narrow(1, 0, shown_columns)?;
    let values = part.to_device(&candle_core::Device::Cpu)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let mut table =
        Table::new(vec![""; shown_columns + usize::from(shown_columns < columns)]).caption(caption);
    for row in values {
        let mut cells: Vec<Cell> =
            row.into_iter().map(|x| super::fixed(x, if whole { 0 } else { 4 })).collect();
        if shown_columns < columns {
            cells.push(Cell::text("…"));
        }
        table.push(cells)?;
    }
    let hidden = tensor.elem_count() - shown_rows * shown_columns;
    Ok(if hidden > 0 { table.note(format!("{hidden} more values are not shown")) } else { table })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Show as _;
    use candle_core::Device;

    #[test]
    fn tensors_of_any_rank_are_shown() -> Result<()> {
        for shape in [&[][..], &[3], &[0], &[2, 3], &[2, 0, 3], &[2, 3, 4], &[20, 30]] {
            let text = super::tensor(&Tensor::zeros(shape, DType::F32, &Device::Cpu)?)?.to_text();
            assert!(text.contains("f32"), "{text}");
        }
        let t = Tensor::new(&[[1u32, 20], [300, 4]], &Device::Cpu)?;
        assert_eq!(super::tensor(&t)?.to_text(), "2 × 2 of u32\n\n  1  20\n300   4\n");
        Ok(())
    }
}
