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

impl Axis {
    /// The axis for these values, with about `wanted` marks.
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>, wanted: usize) -> Self {
        let coordinates = values.filter_map(|value| scale.coordinate(value));
        let (least, most, whole) = coordinates.fold((f64::MAX, f64::MIN, true), |(low, high, whole), at| {
            (low.min(at), high.max(at), whole && at.fract() == 0.0)
        });
        if least > most {
            return axis(Scale::Linear, 0.0, 1.0, wanted);
        }
        // A few whole numbers, as those of layers: there is nothing to mark between them.
        let few = scale == Scale::Linear && whole && (2.0..wanted as f64).contains(&(most - least));
        axis(scale, least, most, if few { (most - least) as usize } else { wanted })
    }

    /// An axis with a place for each of `count` categories, at 0, 1, 2, …
    pub(super) fn of_categories(names: &[String], count: usize) -> Self {
        let name = |at: usize| names.get(at).cloned().unwrap_or_else(|| at.to_string());
        // No more names than can be read.
        let marks = (0..count).step_by(count.div_ceil(40).max(1)).map(|at| (at as f64, name(at)));
        Self { from: -0.6, to: count.max(1) as f64 - 0.4, marks: marks.collect() }
    }

    /// How far along the axis a coordinate is, 0 to 1.
    pub(super) fn share(&self, coordinate: f64) -> f64 {
        // Halves, since the ends of what there is are further apart than any number is large; and multiplied up, since the
        // smallest numbers have no halves.
        let size = self.from.abs().max(self.to.abs());
        let by = if size < 1e-280 { 1e280 } else { 0.25 };
        (coordinate * by - self.from * by) / (self.to * by - self.from * by)
    }
}

/// The axis for data between the coordinates `least` and `most`, with about `wanted` marks.
fn axis(scale: Scale, least: f64, most: f64, wanted: usize) -> Axis {
    let wanted = wanted.max(2) as f64;
    let size = least.abs().max(most.abs());
    // Numbers so close that an axis of round steps cannot tell them apart, or at the ends of what there is.
    let close = most > least && most * 0.5 - least * 0.5 < size * 1e-12;
    if scale == Scale::Linear && (close || size > 1e300 || (size < 1e-290 && most > least)) {
        return by_its_ends(least, most);
    }
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

/// An axis whose only marks are the least and the most, with all their digits.
fn by_its_ends(least: f64, most: f64) -> Axis {
    let (from, to) = if most > least {
        (least, most)
    } else {
        // A single number, far out: it stands in the middle.
        (if least > 0.0 { 0.0 } else { f64::MIN }, if least > 0.0 { f64::MAX } else { 0.0 })
    };
    let label = |value: f64| {
        let (plain, scientific) = (format!("{value}"), format!("{value:e}"));
        if plain.len() <= scientific.len() + 4 { plain } else { scientific }
    };
    let mut marks = vec![(least, label(least))];
    if most > least {
        marks.push((most, label(most)));
    } else {
        marks.push((0.0, label(0.0)));
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
    let decimals = (0..=15).find(|d| is_whole(step * 10f64.powi(*d))).unwrap_or(15) as usize;
    let first = (from / step).round();
    let values: Vec<f64> = (0..=count).map(|i| (first + f64::from(i)) * step).collect();
    // Labels that say nothing apart are written out.
    let far = values.iter().any(|value| value.abs() >= 1e6) || decimals > 8;
    let mut labels: Vec<String> = values
        .iter()
        .map(|value| if far { short(*value) } else { super::fixed(*value, decimals).into_text() })
        .collect();
    if labels.windows(2).any(|pair| pair[0] == pair[1]) {
        labels = values.iter().map(|value| format!("{:.*}", decimals.min(15), value)).collect();
    }
    if labels.windows(2).any(|pair| pair[0] == pair[1]) {
        labels = values.iter().map(|value| format!("{value:e}")).collect();
    }
    Axis { from, to, marks: values.into_iter().zip(labels).collect() }
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
    fn between_whole_numbers_there_are_no_marks() {
        let labels = |values: &[f64]| -> Vec<String> {
            let axis = Axis::of(Scale::Linear, values.iter().copied(), 10);
            axis.marks.into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(&[0.0, 1.0, 2.0, 3.0, 4.0]), ["0", "1", "2", "3", "4"]);
        assert_eq!(labels(&[-1.0, 1.0]), ["-1", "0", "1"]);
        // Where a number lies between, so do marks; and a long axis has its round numbers.
        assert_eq!(labels(&[0.0, 0.5, 2.0])[..3], ["0.0", "0.2", "0.4"]);
        assert_eq!(labels(&[0.0, 48.0])[..3], ["0", "5", "10"]);
    }

    #[test]
    fn marks_that_are_close_say_what_tells_them_apart() {
        for (least, most) in [
            (1.0, 1.0 + f64::EPSILON),
            (5e-324, 1e-323),
            (1.0, 1.000_000_01),
            (1e6, 1e6 + 1e-3),
            (123_456_789.0, 123_456_790.0),
        ] {
            let labels = labels(Scale::Linear, least, most);
            let mut different = labels.clone();
            different.dedup();
            assert!(labels.len() >= 2 && different == labels, "{least:e} {most:e}: {labels:?}");
        }
    }

    #[test]
    fn any_data_gets_an_axis() {
        for (least, most) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (-1e300, 1e300),
            (1e-300, 2e-300),
            (0.0, 1e-12),
            (f64::MIN, f64::MAX),
            (f64::MAX, f64::MAX),
            (f64::MIN, f64::MIN),
            (0.0, 5e-324),
            (1e-310, 1e-310),
        ] {
            for scale in [Scale::Linear, Scale::Log2, Scale::Log10] {
                let (Some(a), Some(b)) = (scale.coordinate(least), scale.coordinate(most)) else { continue };
                let axis = axis(scale, a, b, 6);
                assert!(axis.to > axis.from && axis.marks.len() <= 101, "{least} {most} {scale:?} {axis:?}");
            }
        }
    }
}
