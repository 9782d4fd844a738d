//! A decoded image.

/// A decoded image: 8 bits per channel, grey or red-green-blue. It is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// (H, W, C): rows from the top, in a row from the left.
    pub pixels: Vec<u8>,
    /// What the file has: `red-green-blue of 16 bits`.
    pub stored: &'static str,
    /// Whether nothing was dropped or converted: the file has 8 bits or fewer per channel, no opacity, and no CMYK.
    pub is_exact: bool,
    /// Whether the file is JPEG; otherwise it is PNG.
    pub is_jpeg: bool,
}
