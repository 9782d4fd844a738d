//! Images in rows and columns.

use super::{Show, Tile, caption_html, clean, escape};

/// Images in rows and columns, each pixel drawn as a small square.
///
/// ```
/// use igpt::show::{ImageGrid, Tile};
///
/// let red = Tile::new(1, 1, 3, &[255, 0, 0])?;
/// let blue = Tile::new(1, 1, 3, &[0, 0, 255])?.caption("1 pixel");
/// let grid = ImageGrid::new().columns(["red", "blue"]).row("one", [red, blue]).scale(8);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageGrid {
    caption: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Tile>)>,
    scale: usize,
    side: Option<usize>,
}

impl Default for ImageGrid {
    fn default() -> Self {
        Self { caption: String::new(), columns: Vec::new(), rows: Vec::new(), scale: 3, side: None }
    }
}

impl ImageGrid {
    /// A grid without images.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the line above the grid.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Sets the labels of the columns.
    #[must_use]
    pub fn columns(self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: labels.into_iter().map(|label| clean(&label.into())).collect(), ..self }
    }

    /// Adds a row. Its label may be empty.
    #[must_use]
    pub fn row(mut self, label: impl Into<String>, tiles: impl IntoIterator<Item = impl Into<Tile>>) -> Self {
        self.push(label, tiles);
        self
    }

    /// As [`ImageGrid::row`], for use in a loop.
    pub fn push(&mut self, label: impl Into<String>, tiles: impl IntoIterator<Item = impl Into<Tile>>) {
        self.rows.push((clean(&label.into()), tiles.into_iter().map(Into::into).collect()));
    }

    /// Sets how many screen pixels wide and high each pixel is (3 unless told).
    #[must_use]
    pub fn scale(self, scale: usize) -> Self {
        Self { scale: scale.clamp(1, 64), side: None, ..self }
    }

    /// Draws every image about `side` screen pixels wide, whatever its resolution.
    #[must_use]
    pub fn side(self, side: usize) -> Self {
        Self { side: Some(side), ..self }
    }

    fn scale_of(&self, tile: &Tile) -> usize {
        self.side.map_or(self.scale, |side| ((side + tile.width / 2) / tile.width).clamp(1, 64))
    }
}

impl Show for ImageGrid {
    fn to_html(&self) -> String {
        const ROW: &str = "<tr style=\"background:transparent\">";
        let label = |text: &str, align: &str| {
            format!(
                "<th style=\"font-weight:400;text-align:{align};vertical-align:middle;border:none;\
                 padding:2px 10px 2px 0;opacity:.85\">{}</th>",
                escape(text)
            )
        };
        let with_labels = self.rows.iter().any(|(label, _)| !label.is_empty());
        let mut html = caption_html(&self.caption);
        html.push_str("<table style=\"border-collapse:collapse;border:none;margin:.2em 0\">\n<tbody>\n");
        if self.columns.iter().any(|label| !label.is_empty()) {
            html.push_str(ROW);
            html.push_str(if with_labels { "<td style=\"border:none\"></td>" } else { "" });
            self.columns.iter().for_each(|text| html.push_str(&label(text, "left")));
            html.push_str("</tr>\n");
        }
        for (name, tiles) in &self.rows {
            html.push_str(ROW);
            if with_labels {
                html.push_str(&label(name, "left"));
            }
            for (at, tile) in tiles.iter().enumerate() {
                // What stands below the image is read with it: the alternative text says which image it is.
                let column = self.columns.get(at).filter(|column| !column.is_empty()).cloned();
                let column = column.unwrap_or_else(|| format!("image {} of {}", at + 1, tiles.len()));
                let alt = if name.is_empty() { column } else { format!("{name}, {column}") };
                html.push_str(
                    "<td style=\"border:none;padding:2px 10px 6px 0;text-align:left;vertical-align:top\">",
                );
                html.push_str(&tile.to_img(self.scale_of(tile), &alt));
                if !tile.caption.is_empty() {
                    html.push_str(&format!(
                        "<div style=\"font-size:.85em;opacity:.85;margin:0\">{}</div>",
                        escape(&tile.caption)
                    ));
                }
                html.push_str("</td>");
            }
            html.push_str("</tr>\n");
        }
        html + "</tbody></table>\n"
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.caption.is_empty() {
            text.push_str(&format!("{}\n", clean(&self.caption)));
        }
        for (name, tiles) in &self.rows {
            let images = tiles.iter().enumerate().map(|(at, tile)| {
                let column = self.columns.get(at).map_or(String::new(), |label| format!("{label} "));
                let caption =
                    if tile.caption.is_empty() { String::new() } else { format!(", {}", tile.caption) };
                format!("[{column}{} × {}{caption}]", tile.width, tile.height)
            });
            let label = if name.is_empty() { String::new() } else { format!("{name}: ") };
            text.push_str(&format!("{label}{}\n", images.collect::<Vec<_>>().join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> ImageGrid {
        let tile = || Tile::new(2, 2, 1, &[0, 80, 160, 240]).unwrap();
        ImageGrid::new().caption("Grid").columns(["a", "<b>"]).row("one", [tile(), tile().caption("9 & dB")])
    }

    #[test]
    fn the_text_names_every_image() {
        assert_eq!(grid().to_text(), "Grid\none: [a 2 × 2] [<b> 2 × 2, 9 & dB]\n");
    }

    #[test]
    fn the_html_holds_every_image_once_and_is_escaped() {
        let html = grid().to_html();
        assert_eq!(html.matches("<img ").count(), 2);
        assert!(html.contains("&lt;b&gt;") && html.contains("9 &amp; dB") && !html.contains("<b>"));
        assert!(html.contains("width=\"6\""));
        assert!(html.contains("alt=\"one, a\"") && html.contains("alt=\"one, &lt;b&gt;\""), "{html}");
        assert!(!html.contains("></th>"), "a header without a text: {html}");
        let tile = Tile::new(1, 1, 1, &[0]).unwrap().caption("coffee");
        let alone = ImageGrid::new().row("", [tile.clone(), tile]).to_html();
        assert!(alone.contains("alt=\"image 2 of 2\"") && !alone.contains("alt=\"coffee\""), "{alone}");
        assert!(grid().side(7).to_html().contains("width=\"8\""));
        assert_eq!(html, grid().to_html());
    }
}
