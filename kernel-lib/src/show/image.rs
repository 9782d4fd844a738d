//! An image as the value of a cell.

use super::{ImageGrid, Show, Tile, displays};
use crate::Image;

impl Image {
    /// The image about 256 screen pixels wide, or smaller than it is if it is very large: a page should not carry
    /// megapixels that nobody asked for.
    pub(crate) fn tile(&self, caption: &str) -> ImageGrid {
        const LARGE: usize = 512;
        let longer = self.width().max(self.height());
        let shrink = |side: usize| (side * LARGE / longer).max(1);
        let small = (longer > LARGE).then(|| self.resize(shrink(self.width()), shrink(self.height())));
        let tile = match small {
            Some(Ok(small)) => Tile::from(&small).caption(format!("{caption}, shown smaller")),
            _ => Tile::from(self).caption(caption),
        };
        ImageGrid::new().row("", [tile]).side(256)
    }
}

impl Show for Image {
    fn to_html(&self) -> String {
        self.tile(&self.size()).to_html()
    }
    fn to_text(&self) -> String {
        format!("[{}]\n", self.size())
    }
}

displays!(Image);

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, height: usize, channels: usize, pixels: &[u8]) -> Image {
        Image::new(width, height, channels, pixels.to_vec()).unwrap()
    }

    #[test]
    fn images_are_shown_at_a_reasonable_size() {
        let small = image(28, 28, 1, &[5; 784]);
        assert!(small.to_html().contains("width=\"252\""));
        assert_eq!(small.to_text(), "[28 × 28, grey]\n");
        let large = image(1024, 2, 1, &[5; 2048]);
        assert!(large.to_html().contains("width=\"512\" height=\"1\""));
        assert!(large.to_html().contains("1024 × 2, grey, shown smaller"));
    }
}
