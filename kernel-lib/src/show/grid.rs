//! Images in rows and columns.

use super::{Show, Tile, caption_html, clean, escape};

/// How many screen pixels wide a grid is at most: as wide as a cell of JupyterLab beside its file browser, on a window of 1280.
const PAGE: usize = 840;
/// What the table leaves free to the right of a label and of each image.
const GAP: usize = 10;
/// About how wide a letter of a label is.
const LETTER: usize = 7;

/// Images in rows and columns, each pixel drawn as a small square.
///
/// A grid that would be wider than a page is drawn smaller, all images by the same factor.
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
        self.push_tiles(&label.into(), tiles.into_iter().map(Into::into).collect());
    }

    fn push_tiles(&mut self, label: &str, tiles: Vec<Tile>) {
        self.rows.push((clean(label), tiles));
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

    /// By what factor all images are drawn smaller, so that the grid is no wider than a page: 1 where it is not.
    fn fit(&self) -> f64 {
        let letters = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let columns = self.rows.iter().map(|(_, tiles)| tiles.len()).max().unwrap_or(0);
        let widest = |column: usize| {
            let tiles = self.rows.iter().filter_map(|(_, tiles)| tiles.get(column));
            tiles.map(|tile| tile.width * self.scale_of(tile)).max().unwrap_or(0)
        };
        let images: usize = (0..columns).map(widest).sum();
        // Long labels are broken into lines: they never take more than half of the page.
        let taken = (letters * LETTER + (columns + 1) * GAP).min(PAGE / 2);
        ((PAGE - taken) as f64 / images.max(1) as f64).min(1.0)
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
        let fit = self.fit();
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
                html.push_str(&tile.to_img(self.scale_of(tile), fit, &alt));
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

    #[test]
    fn no_grid_is_wider_than_a_page() {
        let tile = |side: usize| Tile::new(side, side, 1, &vec![0; side * side]).unwrap();
        let row = |side: usize, count: usize| vec![tile(side); count];
        let widths = |grid: &ImageGrid| -> Vec<usize> {
            let html = grid.to_html();
            let after = html.split("width=\"").skip(1);
            after.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
        };
        // Six photographs at three resolutions, and twelve images of CIFAR: all images are drawn smaller by one factor.
        let photographs = ImageGrid::new().row("32²", row(32, 6)).row("64²", row(64, 6));
        let wide = widths(&photographs);
        assert!(wide[6..].iter().sum::<usize>() + 8 * GAP <= PAGE, "{wide:?}");
        assert!((wide[0] * 2).abs_diff(wide[6]) <= 1, "{wide:?}");
        let cifar = widths(&ImageGrid::new().row("", row(32, 12)));
        assert!(cifar.iter().sum::<usize>() + 12 * GAP <= PAGE && cifar[0] > 32, "{cifar:?}");
        // What fits stays as it is told.
        assert_eq!(widths(&ImageGrid::new().row("", row(14, 12))), [42; 12]);
        assert_eq!(widths(&ImageGrid::new().row("as they are", row(14, 8)).scale(4)), [56; 8]);
        // However long a label and however many images there are, each is drawn.
        let crowded = widths(&ImageGrid::new().row("label ".repeat(200), row(32, 300)));
        assert!(crowded.len() == 300 && crowded.iter().all(|width| *width >= 1), "{crowded:?}");
    }
}
