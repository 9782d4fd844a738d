//! What a reader is told of features that are kept with fewer bits than they were computed with.

use super::FeatureLayers;
use serde::{Deserialize, Serialize};

/// How far rounding to f16 has moved features, in two measures: each the largest rounding error, over a size that it is to be
/// compared with. A probe sees the second: it standardises features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// Over the root mean square of all features of the layer.
    pub of_size: f64,
    /// Over the standard deviation of the same feature among the images; of the feature where that is the most.
    pub of_deviation: f64,
}

impl Rounding {
    /// The larger errors of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            of_size: self.of_size.max(other.of_size),
            of_deviation: self.of_deviation.max(other.of_deviation),
        }
    }

    /// The largest errors of several; none if nothing was rounded.
    pub fn largest(of: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        of.into_iter().flatten().reduce(Self::and)
    }

    /// The largest errors of all layers of training and test images.
    pub(super) fn of(all: [&dyn FeatureLayers; 2]) -> Option<Self> {
        Self::largest(
            all.into_iter().flat_map(|features| (0..features.layers()).map(|layer| features.rounding(layer))),
        )
    }

    /// A table's note, with a sentence about rounding where something was rounded.
    pub(crate) fn note(rounding: Option<Self>, note: impl Into<String>) -> String {
        let note = note.into();
        match rounding {
            Some(rounding) => format!("{note} {rounding}"),
            None => note,
        }
    }
}

/// A sentence.
impl std::fmt::Display for Rounding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As many digits as say something: from 0.024 % to 120 %.
        let percent = |share: f64| {
            let percent = 100.0 * share;
            let digits =
                if percent > 0.0 { (1.0 - percent.log10().floor()).clamp(0.0, 9.0) as usize } else { 0 };
            format!("{percent:.digits$} %")
        };
        write!(
            f,
            "Features are kept as f16: rounding moved a number by at most {} of its layer's root mean square, and by at most {} of \
             its feature's standard deviation.",
            percent(self.of_size),
            percent(self.of_deviation)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_both_errors_with_two_digits() {
        let rounding = Rounding { of_size: 0.000_241, of_deviation: 0.0123 };
        let text = rounding.to_string();
        assert!(text.contains("at most 0.024 % of its layer") && text.contains("at most 1.2 % of"), "{text}");
        let text = Rounding { of_size: 0.0, of_deviation: 12.3 }.to_string();
        assert!(text.contains("at most 0 % of its layer") && text.contains("at most 1230 % of"), "{text}");
        assert_eq!(Rounding::note(None, "All."), "All.");
        assert_eq!(Rounding::note(Some(rounding), "All."), format!("All. {rounding}"));
    }

    #[test]
    fn of_several_the_largest_errors_count() {
        let (a, b) =
            (Rounding { of_size: 1.0, of_deviation: 4.0 }, Rounding { of_size: 2.0, of_deviation: 3.0 });
        let both = Rounding { of_size: 2.0, of_deviation: 4.0 };
        assert_eq!(Rounding::largest([Some(a), None, Some(b)]), Some(both));
        assert_eq!(Rounding::largest([None, None]), None);
    }
}
