//! From the values of components to grey or red-green-blue.

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    /// As Adobe stores it: 255 is no ink.
    Cmyk,
    /// Cyan, magenta and yellow as YCbCr, and black; 255 of it is no ink.
    Ycck,
}

impl Colours {
    /// What libjpeg takes components with these ids for: JFIF's marker is believed first, then Adobe's, then the ids.
    pub(super) fn of(ids: &[u8], jfif: bool, adobe: Option<u8>) -> Self {
        match (ids, adobe) {
            ([_], _) => Self::Grey,
            ([_, _, _], _) if jfif => Self::YCbCr,
            ([_, _, _], Some(0)) => Self::Rgb,
            ([_, _, _], Some(_)) => Self::YCbCr,
            ([b'R', b'G', b'B'], None) => Self::Rgb,
            ([_, _, _], None) => Self::YCbCr,
            (_, None | Some(0)) => Self::Cmyk,
            (_, Some(_)) => Self::Ycck,
        }
    }

    /// A row of pixels, from a row of each component.
    pub(super) fn convert(self, rows: &[Vec<u8>], output: &mut [u8]) {
        match (self, rows) {
            (Self::Grey, [grey, ..]) => output.copy_from_slice(&grey[..output.len()]),
            (Self::Rgb, [r, g, b, ..]) => {
                for (((pixel, r), g), b) in output.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
                    *pixel = [*r, *g, *b];
                }
            }
            (Self::YCbCr, [y, cb, cr, ..]) => {
                for (((pixel, y), cb), cr) in output.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr)
                {
                    *pixel = red_green_blue(*y, *cb, *cr);
                }
            }
            (Self::Cmyk, [c, m, y, k]) => {
                let inks = c.iter().zip(m).zip(y).zip(k);
                for (pixel, (((c, m), y), k)) in output.as_chunks_mut::<3>().0.iter_mut().zip(inks) {
                    *pixel = [*c, *m, *y].map(|ink| under_black(ink, *k));
                }
            }
            (Self::Ycck, [y, cb, cr, k]) => {
                let inks = y.iter().zip(cb).zip(cr).zip(k);
                for (pixel, (((y, cb), cr), k)) in output.as_chunks_mut::<3>().0.iter_mut().zip(inks) {
                    *pixel = red_green_blue(*y, *cb, *cr).map(|light| under_black(255 - light, *k));
                }
            }
            // There are as many components as these need.
            _ => {}
        }
    }
}

/// JFIF's formulas, with 16 bits behind the point. Green is rounded once.
#[inline]
fn red_green_blue(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((HALF - 22_554 * cb - 46_802 * cr) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

/// What Pillow makes of an ink and black, both stored as 255 for none.
#[inline]
fn under_black(ink: u8, black: u8) -> u8 {
    let product = u32::from(255 - ink) * u32::from(black) + 128;
    let taken = ((product >> 8) + product) >> 8;
    black.saturating_sub(taken as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_believed_in_libjpegs_order() {
        let of = Colours::of;
        assert_eq!(of(&[1], true, Some(1)), Colours::Grey);
        assert_eq!(of(b"RGB", true, Some(0)), Colours::YCbCr);
        assert_eq!(of(&[1, 2, 3], false, Some(0)), Colours::Rgb);
        assert_eq!(of(b"RGB", false, Some(1)), Colours::YCbCr);
        assert_eq!(of(b"RGB", false, None), Colours::Rgb);
        assert_eq!(of(&[0, 1, 2], false, None), Colours::YCbCr);
        assert_eq!(of(&[1, 2, 3, 4], true, None), Colours::Cmyk);
        assert_eq!(of(&[1, 2, 3, 4], false, Some(0)), Colours::Cmyk);
        assert_eq!(of(&[1, 2, 3, 4], false, Some(1)), Colours::Ycck);
    }

    #[test]
    fn colours_that_are_known() {
        assert_eq!(red_green_blue(128, 128, 128), [128; 3]);
        assert_eq!(red_green_blue(76, 85, 255), [254, 0, 0]);
        assert_eq!(red_green_blue(29, 255, 107), [0, 0, 254]);
        assert_eq!([under_black(255, 255), under_black(0, 255), under_black(255, 0)], [255, 0, 0]);
        assert_eq!(under_black(200, 100), 78);
    }
}
