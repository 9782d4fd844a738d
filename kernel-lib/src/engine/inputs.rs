//! Which vector each row of the first block's input was made of, and, for the backward pass, which rows were made of a
//! vector.

use super::backend::Input;

/// Where a row's vector comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Sos,
    Token(u16),
    Nothing,
}

/// Which vector row `i` (image i / T, position i % T) begins with.
pub(super) fn source(input: Input<'_>, t: usize, i: usize) -> Source {
    match input {
        Input::Shifted(_) if i.is_multiple_of(t) => Source::Sos,
        Input::Shifted(tokens) => Source::Token(tokens[i - 1]),
        Input::Masked(_, Some(masked)) if masked[i] => Source::Nothing,
        Input::Masked(tokens, _) => Source::Token(tokens[i]),
    }
}

/// Rows by the vector that they were made of: so its gradient is a sum in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Rows by vector, those of each in their own order.
    pub(super) rows: Vec<u32>,
    /// Where each vector's end: those of the V tokens, then the SOS token's.
    ends: Vec<u32>,
}

impl Sorted {
    /// Sorts `rows` rows by counting.
    pub(super) fn sort(&mut self, input: Input<'_>, t: usize, rows: usize, vocabulary: usize) {
        let Self { rows: sorted, ends } = self;
        ends.clear();
        ends.resize(vocabulary + 2, 0);
        let destination = |i| match source(input, t, i) {
            Source::Token(token) => Some(usize::from(token)),
            Source::Sos => Some(vocabulary),
            Source::Nothing => None,
        };
        (0..rows).filter_map(destination).for_each(|destination| ends[destination + 1] += 1);
        (0..=vocabulary).for_each(|destination| ends[destination + 1] += ends[destination]);
        sorted.clear();
        sorted.resize(ends[vocabulary + 1] as usize, 0);
        for i in 0..rows {
            if let Some(destination) = destination(i) {
                sorted[ends[destination] as usize] = i as u32;
                ends[destination] += 1;
            }
        }
        // Each begin has become its end, which is the next one's begin.
        ends.pop();
    }

    /// The rows that were made of a token's vector, or, for V, of the SOS token.
    pub(super) fn of(&self, vector: usize) -> std::ops::Range<usize> {
        let begin = if vector == 0 { 0 } else { self.ends[vector - 1] };
        begin as usize..self.ends[vector] as usize
    }
}
