//! A scan: some coefficients of some components, block by block.

use super::{
    super::unreadable::Unreadable,
    bits::Bits,
    block::{self, Band},
    frame::{BLOCK, Component, Frame},
    huffman::Huffman,
};

/// What scans are read with, as segments before them say.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub quantization: [Option<[u16; BLOCK]>; 4],
    /// For first coefficients, and for the others.
    pub huffman: [[Option<Box<Huffman>>; 4]; 2],
    /// Parts after which codes begin anew; 0 for never.
    pub restart: usize,
}

/// The header of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    /// The places of its components in the frame, each with the numbers of its two Huffman tables.
    components: Vec<(usize, [usize; 2])>,
    band: Band,
    /// Whether its bits came before, but one.
    is_more: bool,
}

impl Scan {
    /// From the content of a SOS segment.
    pub(super) fn new(content: &[u8], frame: &Frame) -> Result<Self, Unreadable> {
        let wrong = || Unreadable::damaged("the header of a scan (SOS) of its JPEG data makes no sense");
        let [count, content @ ..] = content else { return Err(wrong()) };
        let count = usize::from(*count);
        let (Some(described), Some([first, last, shift])) =
            (content.get(..2 * count), content.get(2 * count..).and_then(|rest| rest.first_chunk::<3>()))
        else {
            return Err(wrong());
        };
        let mut components = Vec::new();
        for two in described.chunks_exact(2) {
            let place = frame.components.iter().position(|component| component.id == two[0]);
            let place = place.filter(|place| components.iter().all(|(other, _)| other != place));
            components.push((place.ok_or_else(wrong)?, [usize::from(two[1] >> 4), usize::from(two[1] & 15)]));
        }
        let (high, low) = (u32::from(shift >> 4), u32::from(shift & 15));
        let (first, last) = (usize::from(*first), usize::from(*last));
        let (band, is_more) = match frame.is_progressive {
            false => (Band { first: 0, last: BLOCK - 1, low: 0 }, false),
            true => (Band { first, last, low }, high > 0),
        };
        let is_possible = match first {
            _ if !frame.is_progressive => true,
            // First coefficients come alone; the others only of one component.
            0 => last == 0,
            _ => first <= last && last < BLOCK && count == 1,
        };
        let is_next = !is_more || high == low + 1;
        if components.is_empty() || count > 4 || !is_possible || !is_next || band.low > 13 {
            return Err(wrong());
        }
        Ok(Self { components, band, is_more })
    }

    /// Reads the scan into the frame; tells where to look for the next marker.
    pub(super) fn read(
        &self,
        frame: &mut Frame,
        tables: &Tables,
        bytes: &[u8],
        at: usize,
    ) -> Result<usize, Unreadable> {
        for (place, _) in &self.components {
            self.note(&mut frame.components[*place], tables)?;
        }
        let mut bits = Bits::new(bytes, at);
        match self.components[..] {
            [(place, huffman)] => {
                let (across, down) = frame.components[place].blocks;
                let component = &mut frame.components[place];
                let mut reader = Reader::new(self, frame.is_progressive, tables, huffman)?;
                let mut parts = Parts::new(tables.restart);
                for y in 0..down {
                    for x in 0..across {
                        if parts.begin_anew(&mut bits)? {
                            reader.begin_anew();
                        }
                        reader.block(component, (x, y), &mut bits)?;
                    }
                }
            }
            _ => self.read_several(frame, tables, &mut bits)?,
        }
        Ok(bits.place())
    }

    /// Of several components, each part has all blocks of a sampling.
    fn read_several(
        &self,
        frame: &mut Frame,
        tables: &Tables,
        bits: &mut Bits<'_>,
    ) -> Result<(), Unreadable> {
        let ((across, down), is_progressive) = (frame.parts(), frame.is_progressive);
        let reader = |(place, huffman): &(usize, [usize; 2])| {
            Ok((*place, Reader::new(self, is_progressive, tables, *huffman)?))
        };
        let mut readers = self.components.iter().map(reader).collect::<Result<Vec<_>, Unreadable>>()?;
        let mut parts = Parts::new(tables.restart);
        for y in 0..down {
            for x in 0..across {
                if parts.begin_anew(bits)? {
                    readers.iter_mut().for_each(|(_, reader)| reader.begin_anew());
                }
                for (place, reader) in &mut readers {
                    let component = &mut frame.components[*place];
                    let (h, v) = component.sampling;
                    for block in (0..v).flat_map(|v| (0..h).map(move |h| (h, v))) {
                        reader.block(component, (x * h + block.0, y * v + block.1), bits)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes what of the component comes with this scan. Nothing may come twice, or before what it refines.
    fn note(&self, component: &mut Component, tables: &Tables) -> Result<(), Unreadable> {
        if component.quantization.is_none() {
            let table = tables.quantization.get(component.table).and_then(Option::as_ref);
            let missing = || Unreadable::damaged("a quantization table of its JPEG data is missing");
            component.quantization = Some(*table.ok_or_else(missing)?);
        }
        let low = self.band.low as u8;
        for missing in &mut component.missing[self.band.first..=self.band.last] {
            let is_next = if self.is_more { *missing == low + 1 } else { *missing == u8::MAX };
            if !is_next {
                return Err(Unreadable::damaged("a scan of its JPEG data comes twice, or too early"));
            }
            *missing = low;
        }
        Ok(())
    }
}

/// Counts the parts of a scan up to where codes begin anew.
struct Parts {
    restart: usize,
    left: usize,
    /// The number of the next marker.
    number: u8,
}

impl Parts {
    fn new(restart: usize) -> Self {
        Self { restart, left: restart, number: 0 }
    }

    /// Whether codes begin anew before this part.
    #[inline]
    fn begin_anew(&mut self, bits: &mut Bits<'_>) -> Result<bool, Unreadable> {
        if self.restart == 0 {
            return Ok(false);
        }
        if self.left > 0 {
            self.left -= 1;
            return Ok(false);
        }
        bits.restart(self.number)?;
        self.number = (self.number + 1) % 8;
        self.left = self.restart - 1;
        Ok(true)
    }
}

/// Reads blocks of a component.
struct Reader<'a> {
    band: Band,
    is_more: bool,
    first: Option<&'a Huffman>,
    others: Option<&'a Huffman>,
    /// The first coefficient of the block before.
    before: i32,
    /// How many of the next blocks have nothing.
    blocks: u32,
}

impl<'a> Reader<'a> {
    fn new(
        scan: &Scan,
        is_progressive: bool,
        tables: &'a Tables,
        numbers: [usize; 2],
    ) -> Result<Self, Unreadable> {
        let Scan { band, is_more, .. } = *scan;
        let table = |kind: usize| {
            let table = tables.huffman[kind].get(numbers[kind]).and_then(Option::as_deref);
            table.ok_or_else(|| Unreadable::damaged("a Huffman table of its JPEG data is missing"))
        };
        let has_first = band.first == 0;
        let first = (has_first && !is_more).then(|| table(0)).transpose()?;
        let others = (!is_progressive || !has_first).then(|| table(1)).transpose()?;
        Ok(Self { band, is_more, first, others, before: 0, blocks: 0 })
    }

    fn begin_anew(&mut self) {
        (self.before, self.blocks) = (0, 0);
    }

    /// The block in column `x` and row `y`.
    #[inline]
    fn block(
        &mut self,
        component: &mut Component,
        (x, y): (usize, usize),
        bits: &mut Bits<'_>,
    ) -> Result<(), Unreadable> {
        let at = (y * component.stride + x) * BLOCK;
        let block = component.coefficients.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<BLOCK>());
        let Some(block) = block else { return Err(Unreadable::damaged("its JPEG data has too many blocks")) };
        match (self.first, self.is_more && self.band.first == 0) {
            (Some(table), _) => {
                self.before = self.before.wrapping_add(block::difference(bits, table)?);
                block[0] = (self.before << self.band.low) as i16;
            }
            (None, true) => block[0] |= (bits.number(1)? as i16) << self.band.low,
            (None, false) => {}
        }
        let Some(table) = self.others else { return Ok(()) };
        let band = Band { first: self.band.first.max(1), ..self.band };
        match self.is_more {
            true => block::one_more_bit(block, bits, table, band, &mut self.blocks),
            false => block::others(block, bits, table, band, &mut self.blocks),
        }
    }
}
