//! The segments of a file: each begins with a marker, ff and a byte that says what it is.

use super::{
    super::unreadable::Unreadable,
    block::ZIGZAG,
    colour::Colours,
    frame::{BLOCK, Frame},
    huffman::Huffman,
    scan::{Scan, Tables},
};

/// A file, read up to a marker.
#[derive(Debug)]
pub(super) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
    tables: Tables,
    /// Whether it is marked as JFIF,
    jfif: bool,
    /// and what Adobe's marker says of its colours.
    adobe: Option<u8>,
    frame: Option<Frame>,
    /// As they are at the first scan.
    colours: Option<Colours>,
}

impl<'a> Markers<'a> {
    /// Of a file that begins as JPEG does.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let tables = Tables::default();
        Self { bytes, at: 2, tables, jfif: false, adobe: None, frame: None, colours: None }
    }

    /// Reads the file to its end.
    pub(super) fn read(mut self) -> Result<(Frame, Colours), Unreadable> {
        loop {
            match self.marker()? {
                // The end.
                0xd9 => {
                    let (Some(frame), Some(colours)) = (self.frame, self.colours) else {
                        return Err(Unreadable::damaged("its JPEG data has no image"));
                    };
                    frame.check_whole()?;
                    return Ok((frame, colours));
                }
                // Markers without a segment: another beginning, a restart behind a scan, and one that means nothing.
                0xd8 | 0xd0..=0xd7 | 0x01 => {}
                marker => {
                    let content = self.segment()?;
                    self.take(marker, content)?;
                }
            }
        }
    }

    /// The next marker. What is between segments is nothing.
    fn marker(&mut self) -> Result<u8, Unreadable> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.windows(2).position(|two| two[0] == 0xff && !matches!(two[1], 0 | 0xff));
        let found = found.ok_or_else(no_end)?;
        self.at += found + 2;
        Ok(rest[found + 1])
    }

    /// The content of the segment here.
    fn segment(&mut self) -> Result<&'a [u8], Unreadable> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = usize::from(u16::from_be_bytes(*rest.first_chunk().ok_or_else(no_end)?));
        let content = rest.get(2..length.max(2)).ok_or_else(no_end)?;
        if length < 2 {
            return Err(Unreadable::damaged("a segment of its JPEG data makes no sense"));
        }
        self.at += length;
        Ok(content)
    }

    fn take(&mut self, marker: u8, content: &[u8]) -> Result<(), Unreadable> {
        match marker {
            0xc0..=0xc2 => {
                if self.frame.is_some() {
                    return Err(Unreadable::damaged("its JPEG data has two headers (SOF)"));
                }
                self.frame = Some(Frame::new(content, marker == 0xc2, self.bytes)?);
            }
            0xc4 => self.huffman(content)?,
            0xda => self.scan(content)?,
            0xdb => self.quantization(content)?,
            0xdd => {
                let wrong = || Unreadable::damaged("the restarts (DRI) of its JPEG data make no sense");
                self.tables.restart = u16::from_be_bytes(*content.first_chunk().ok_or_else(wrong)?).into();
            }
            0xe0 => self.jfif |= content.len() >= 14 && content.starts_with(b"JFIF\0"),
            0xee if content.len() >= 12 && content.starts_with(b"Adobe") => self.adobe = Some(content[11]),
            0xdc => return Err(Unreadable::kind("a JPEG image whose height comes after its pixels (DNL)")),
            _ => {
                if let Some(kind) = unread_kind(marker) {
                    return Err(Unreadable::kind(kind));
                }
            }
        }
        Ok(())
    }

    fn huffman(&mut self, mut content: &[u8]) -> Result<(), Unreadable> {
        let wrong = || Unreadable::damaged("a Huffman table (DHT) of its JPEG data makes no sense");
        while let [number, rest @ ..] = content {
            let counts: &[u8; 16] = rest.first_chunk().ok_or_else(wrong)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum::<usize>();
            let bytes = rest.get(16..16 + total).ok_or_else(wrong)?;
            let tables = self.tables.huffman.get_mut(usize::from(number >> 4)).ok_or_else(wrong)?;
            let place = tables.get_mut(usize::from(number & 15)).ok_or_else(wrong)?;
            *place = Some(Box::new(Huffman::new(counts, bytes)?));
            content = &rest[16 + total..];
        }
        Ok(())
    }

    fn quantization(&mut self, mut content: &[u8]) -> Result<(), Unreadable> {
        let wrong = || Unreadable::damaged("a quantization table (DQT) of its JPEG data makes no sense");
        while let [number, rest @ ..] = content {
            let bytes_of_each = 1 + usize::from(number >> 4);
            let length = BLOCK * bytes_of_each;
            let values = rest.get(..length).filter(|_| bytes_of_each <= 2).ok_or_else(wrong)?;
            let mut table = [0; BLOCK];
            for (place, value) in ZIGZAG.iter().zip(values.chunks_exact(bytes_of_each)) {
                table[usize::from(*place)] = value.iter().fold(0, |all, byte| all << 8 | u16::from(*byte));
            }
            *self.tables.quantization.get_mut(usize::from(number & 15)).ok_or_else(wrong)? = Some(table);
            content = &rest[length..];
        }
        Ok(())
    }

    fn scan(&mut self, content: &[u8]) -> Result<(), Unreadable> {
        let Some(frame) = &mut self.frame else {
            return Err(Unreadable::damaged("its JPEG data has pixels before their header"));
        };
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        self.colours.get_or_insert_with(|| Colours::of(&ids, self.jfif, self.adobe));
        self.at = Scan::new(content, frame)?.read(frame, &self.tables, self.bytes, self.at)?;
        Ok(())
    }
}

fn no_end() -> Unreadable {
    Unreadable("is cut: its JPEG data has no end".into())
}

/// The kinds of JPEG that are hardly ever written.
fn unread_kind(marker: u8) -> Option<&'static str> {
    Some(match marker {
        0xc3 => "a lossless JPEG image",
        0xc5..=0xc7 | 0xde => "a hierarchical JPEG image",
        0xc9 | 0xca => "a JPEG image with arithmetic coding",
        0xcb => "a lossless JPEG image with arithmetic coding",
        0xcd..=0xcf => "a hierarchical JPEG image with arithmetic coding",
        0xf7 => "a JPEG-LS image",
        _ => return None,
    })
}
