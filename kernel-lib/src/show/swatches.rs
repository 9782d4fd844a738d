//! The colours of a palette.

use super::{Show, Tile, caption_html, clean, escape};

/// The colours of one or several palettes as squares, sorted so that kin stand together: greys first, then by hue,
/// each from dark to light.
#[derive(Debug, Clone, Default)]
pub struct Swatches {
    caption: String,
    groups: Vec<(String, Vec<[u8; 3]>)>,
    per_row: Option<usize>,
}

/// Side of a square and the gap after it, in screen pixels.
const SIDE: usize = 13;
const GAP: usize = 1;

impl Swatches {
    /// Swatches without colours.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the line above.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Adds a palette of (red, green, blue) colours.
    #[must_use]
    pub fn palette(mut self, label: impl Into<String>, colours: impl IntoIterator<Item = [u8; 3]>) -> Self {
        self.push(&label.into(), colours.into_iter().collect());
        self
    }

    fn push(&mut self, label: &str, mut colours: Vec<[u8; 3]>) {
        colours.sort_by_key(|colour| rank(*colour));
        self.groups.push((clean(label), colours));
    }

    /// Sets how many colours stand in a row (32 unless told).
    #[must_use]
    pub fn per_row(self, colours: usize) -> Self {
        Self { per_row: Some(colours.clamp(1, 256)), ..self }
    }

    /// The squares of one palette; `None` for a palette without colours.
    fn draw(&self, colours: &[[u8; 3]]) -> Option<Tile> {
        let per_row = self.per_row.unwrap_or(32).min(colours.len());
        let rows = colours.len().checked_div(per_row)? + usize::from(!colours.len().is_multiple_of(per_row));
        // Colours run down the columns, so that a hue is a vertical band.
        let (width, height) = (per_row * (SIDE + GAP), rows * (SIDE + GAP));
        let mut rgba = vec![0; width * height * 4];
        for (at, colour) in colours.iter().enumerate() {
            let (left, top) = (at / rows * (SIDE + GAP), at % rows * (SIDE + GAP));
            for y in top..top + SIDE {
                for x in left..left + SIDE {
                    let pixel = (y * width + x) * 4;
                    rgba[pixel..pixel + 3].copy_from_slice(colour);
                    rgba[pixel + 3] = 255;
                }
            }
        }
        Tile::new(width, height, 4, &rgba).ok()
    }
}

/// Greys, then six and six hues, each from dark to light. Whole numbers, so that all machines agree.
fn rank([r, g, b]: [u8; 3]) -> (u32, u32, [u8; 3]) {
    let (r_, g_, b_) = (i32::from(r), i32::from(g), i32::from(b));
    let (most, least) = (r_.max(g_).max(b_), r_.min(g_).min(b_));
    let chroma = most - least;
    let light = (299 * r_ + 587 * g_ + 114 * b_).unsigned_abs();
    let hue = if chroma < 24 {
        0
    } else {
        let sixth = match most {
            m if m == r_ => (g_ - b_) * 60 / chroma,
            m if m == g_ => (b_ - r_) * 60 / chroma + 120,
            _ => (r_ - g_) * 60 / chroma + 240,
        };
        1 + (sixth + 375).rem_euclid(360).unsigned_abs() / 30
    };
    (hue, light, [r, g, b])
}

impl Show for Swatches {
    fn to_html(&self) -> String {
        let mut html = caption_html(&self.caption);
        for (label, colours) in &self.groups {
            let text = describe(label, colours.len());
            html.push_str(&format!(
                "<div style=\"opacity:.85;font-size:.9em;margin:.4em 0 .2em\">{}</div>\n",
                escape(&text)
            ));
            if let Some(tile) = self.draw(colours) {
                html.push_str(&format!("<div>{}</div>\n", tile.to_img(1, 1.0, &text)));
            }
        }
        html
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.caption.is_empty() {
            text.push_str(&format!("{}\n", clean(&self.caption)));
        }
        for (label, colours) in &self.groups {
            text.push_str(&describe(label, colours.len()));
            let few = colours.iter().take(8).map(|[r, g, b]| format!("#{r:02x}{g:02x}{b:02x}"));
            let more = if colours.len() > 8 { " …" } else { "" };
            text.push_str(&format!(": {}{more}\n", few.collect::<Vec<_>>().join(" ")));
        }
        text
    }
}

fn describe(label: &str, colours: usize) -> String {
    let noun = if colours == 1 { "colour" } else { "colours" };
    if label.is_empty() { format!("{colours} {noun}") } else { format!("{label} ({colours} {noun})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_sorted_and_counted() {
        let colours = [[255, 0, 0], [10, 10, 10], [0, 0, 255], [200, 200, 200], [100, 0, 0]];
        let swatches = Swatches::new().palette("mine", colours);
        assert_eq!(swatches.to_text(), "mine (5 colours): #0a0a0a #c8c8c8 #640000 #ff0000 #0000ff\n");
        assert_eq!(swatches.to_html().matches("<img ").count(), 1);
        let mut turned = colours;
        turned.reverse();
        assert_eq!(swatches.to_html(), Swatches::new().palette("mine", turned).to_html());
    }

    #[test]
    fn every_number_of_colours_can_be_drawn() {
        for count in [0, 1, 31, 32, 33, 512] {
            let swatches = Swatches::new().palette("", vec![[1, 2, 3]; count]);
            assert_eq!(swatches.to_html().matches("<img ").count(), usize::from(count > 0), "{count}");
        }
    }
}
