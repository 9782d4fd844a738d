//! Where an axis has its marks, and what they say.

/// How a value becomes a coordinate on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Scale {
    #[default]
    Linear,
    Log2,
    Log10,
}

impl Scale {
    /// The coordinate of a value; `None` for what has none.
    pub(super) fn coordinate(self, value: f64) -> Option<f64> {
        let coordinate = match self {
            Self::Linear => value,
            Self::Log2 => value.log2(),
            Self::Log10 => value.log10(),
        };
        coordinate.is_finite().then_some(coordinate)
    }
}

/// An axis: the coordinates of its ends, and its marks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) marks: Vec<(f64, String)>,
}

/// The axis for data between the coordinates `least` and `most`, with about `wanted` marks.
pub(super) fn axis(scale: Scale, least: f64, most: f64, wanted: usize) -> Axis {
    let wanted = wanted.max(2) as f64;
    let span = if most > least { most - least } else { least.abs().max(1.0) };
    let (least, most) = if most > least { (least, most) } else { (least - span / 2.0, most + span / 2.0) };
    let steps = match scale {
        Scale::Linear => return linear(least, most, span, wanted),
        Scale::Log10 if span < 1.3 => return log10_fine(least, most),
        Scale::Log2 | Scale::Log10 => (span / wanted).ceil().max(1.0),
    };
    let base: f64 = if scale == Scale::Log2 { 2.0 } else { 10.0 };
    let pad = span * 0.03;
    let (from, to) = (least - pad, most + pad);
    let mut marks = Vec::new();
    let mut at = (from / steps).ceil() * steps;
    while at <= to && marks.len() < 100 {
        marks.push((at, short(base.powi(at as i32))));
        at += steps;
    }
    Axis { from, to, marks }
}

fn linear(least: f64, most: f64, span: f64, wanted: f64) -> Axis {
    let rough = span / wanted;
    let power = 10f64.powi(rough.log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= rough).unwrap_or(rough);
    // From zero where zero is near: a reader expects it there.
    let low = if least >= 0.0 && least < span * 0.35 { 0.0 } else { least };
    let (from, to) = ((low / step).floor() * step, (most / step).ceil() * step);
    let count = ((to - from) / step).round().clamp(1.0, 100.0) as i32;
    let decimals = (0..=8).find(|d| is_whole(step * 10f64.powi(*d))).unwrap_or(8) as usize;
    let first = (from / step).round();
    let marks = (0..=count)
        .map(|i| {
            let value = (first + f64::from(i)) * step;
            let far = value.abs() >= 1e6;
            (value, if far { short(value) } else { super::fixed(value, decimals).into_text() })
        })
        .collect();
    Axis { from, to, marks }
}

/// Less than about a decade: marks at 1, 2, 5, 10, …
fn log10_fine(least: f64, most: f64) -> Axis {
    let (from, to) = (least - 0.03, most + 0.03);
    let mut marks = Vec::new();
    for decade in from.floor() as i32..=to.ceil() as i32 {
        for digit in [1.0, 2.0, 3.0, 5.0, 7.0] {
            let value = digit * 10f64.powi(decade);
            if (from..=to).contains(&value.log10()) {
                marks.push((value.log10(), short(value)));
            }
        }
    }
    Axis { from, to, marks }
}

fn is_whole(x: f64) -> bool {
    (x - x.round()).abs() < 1e-6 * x.abs().max(1.0)
}

/// A value in few characters: `512`, `16k`, `2M`, `0.001`, `1e-6`.
fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = match size {
        s if s >= 1e15 => return format!("{value:e}"),
        s if s >= 1e12 => (value / 1e12, "T"),
        s if s >= 1e9 => (value / 1e9, "G"),
        s if s >= 1e6 => (value / 1e6, "M"),
        s if s >= 1e4 => (value / 1e3, "k"),
        s if s < 1e-4 && s > 0.0 => return format!("{value:e}"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    // Powers of two are not whole thousands; nobody needs their last digits on an axis.
    let text = if suffix.is_empty() { text.to_owned() } else { trimmed(scaled) };
    format!("{text}{suffix}")
}

fn trimmed(value: f64) -> String {
    let text = if value.abs() < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A value in a sentence: three digits or so, so that machines which round differently write the same.
pub(super) fn reading(value: f64) -> String {
    if value == value.round() && value.abs() < 1e15 {
        return super::fixed(value, 0).into_text();
    }
    let digits = value.abs().log10().floor();
    if !(-4.0..15.0).contains(&digits) {
        return format!("{value:.2e}");
    }
    super::fixed(value, (2.0 - digits).clamp(0.0, 7.0) as usize).into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, least: f64, most: f64) -> Vec<String> {
        let coordinates = (scale.coordinate(least).unwrap(), scale.coordinate(most).unwrap());
        axis(scale, coordinates.0, coordinates.1, 6).marks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(labels(Scale::Linear, 0.0, 48.0), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(labels(Scale::Linear, 2.05, 2.13), ["2.04", "2.06", "2.08", "2.10", "2.12", "2.14"]);
        assert_eq!(labels(Scale::Linear, -1.0, 1.0), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(Scale::Log10, 1e-3, 100.0), ["0.001", "0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(Scale::Log2, 2.0, 64.0), ["2", "4", "8", "16", "32", "64"]);
        assert_eq!(labels(Scale::Log10, 1e6, 1e8), ["1M", "10M", "100M"]);
        assert_eq!(labels(Scale::Log10, 20.0, 200.0), ["20", "30", "50", "70", "100", "200"]);
    }

    #[test]
    fn any_data_gets_an_axis() {
        for (least, most) in [(0.0, 0.0), (5.0, 5.0), (-1e300, 1e300), (1e-300, 2e-300), (0.0, 1e-12)] {
            for scale in [Scale::Linear, Scale::Log2, Scale::Log10] {
                let (Some(a), Some(b)) = (scale.coordinate(least), scale.coordinate(most)) else { continue };
                let axis = axis(scale, a, b, 6);
                assert!(axis.to > axis.from && axis.marks.len() <= 101, "{least} {most} {scale:?} {axis:?}");
            }
        }
    }
}
