//! What a JPEG image consists of: components, each of blocks of 8 × 8 values.

use super::super::{size, unreadable::Unreadable};

/// Values of a block.
pub(super) const BLOCK: usize = 64;
/// Rows of a block, and values in a row.
pub(super) const SIDE: usize = 8;
/// What of a coefficient is missing before anything came.
const ALL: u8 = u8::MAX;

/// An image's size and components.
#[derive(Debug)]
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    pub is_progressive: bool,
    /// The largest sampling of a component, across and down: a component with it has a value for each pixel.
    pub most: (usize, usize),
    pub components: Vec<Component>,
}

/// Brightness, a colour, or black.
#[derive(Debug)]
pub(super) struct Component {
    pub id: u8,
    /// How many values it has where the largest has `Frame::most`, across and down.
    pub sampling: (usize, usize),
    /// The number of its quantization table.
    pub table: usize,
    /// Its quantization table as it was at its first scan.
    pub quantization: Option<[u16; BLOCK]>,
    /// Values across and down, without the padding of the last blocks.
    pub size: (usize, usize),
    /// Blocks across and down that hold these.
    pub blocks: (usize, usize),
    /// Blocks that there is room for in a row: scans of several components go on to the end of a sampling.
    pub stride: usize,
    /// Block by block, in rows; each in rows too.
    pub coefficients: Vec<i16>,
    /// For each coefficient, how many of its lowest bits are still to come.
    pub missing: [u8; BLOCK],
}

impl Frame {
    /// From the content of a SOF segment.
    pub(super) fn new(content: &[u8], is_progressive: bool, file: &[u8]) -> Result<Self, Unreadable> {
        let wrong = || Unreadable::damaged("the header (SOF) of its JPEG data makes no sense");
        let [depth, h1, h0, w1, w0, count, described @ ..] = content else { return Err(wrong()) };
        if *depth != 8 {
            return Err(Unreadable::kind(&format!("a JPEG image of {depth} bits per value")));
        }
        let (height, width) = (u16::from_be_bytes([*h1, *h0]), u16::from_be_bytes([*w1, *w0]));
        if height == 0 && width > 0 {
            return Err(Unreadable::kind("a JPEG image whose height comes after its pixels (DNL)"));
        }
        if ![1, 3, 4].contains(count) {
            return Err(Unreadable::kind(&format!("a JPEG image of {count} components")));
        }
        size::check((width.into(), height.into()), (*count).into(), file)?;
        let (width, height) = (usize::from(width), usize::from(height));
        let described = described.get(..3 * usize::from(*count)).ok_or_else(wrong)?;
        let sampling = |three: &[u8]| (usize::from(three[1] >> 4), usize::from(three[1] & 15));
        let samplings: Vec<_> = described.chunks_exact(3).map(sampling).collect();
        if samplings.iter().any(|(h, v)| !(1..=4).contains(h) || !(1..=4).contains(v)) {
            return Err(wrong());
        }
        let most = samplings.iter().fold((1, 1), |most, (h, v)| (most.0.max(*h), most.1.max(*v)));
        let parts = (width.div_ceil(SIDE * most.0), height.div_ceil(SIDE * most.1));
        let component = |(three, sampling): (&[u8], &(usize, usize))| {
            let values = ((width * sampling.0).div_ceil(most.0), (height * sampling.1).div_ceil(most.1));
            let stride = parts.0 * sampling.0;
            Component {
                id: three[0],
                sampling: *sampling,
                table: usize::from(three[2]),
                quantization: None,
                size: values,
                blocks: (values.0.div_ceil(SIDE), values.1.div_ceil(SIDE)),
                stride,
                coefficients: vec![0; stride * parts.1 * sampling.1 * BLOCK],
                missing: [ALL; BLOCK],
            }
        };
        let components = described.chunks_exact(3).zip(&samplings).map(component).collect();
        Ok(Self { width, height, is_progressive, most, components })
    }

    /// Blocks of a sampling across and down, with all components in them.
    pub(super) fn parts(&self) -> (usize, usize) {
        (self.width.div_ceil(SIDE * self.most.0), self.height.div_ceil(SIDE * self.most.1))
    }

    /// Whether all of the image came. libjpeg would smooth what is missing.
    pub(super) fn check_whole(&self) -> Result<(), Unreadable> {
        match self.components.iter().any(|component| component.missing.iter().any(|bits| *bits > 0)) {
            true => Err(Unreadable("is cut or damaged: scans of its JPEG data are missing".into())),
            false => Ok(()),
        }
    }
}
