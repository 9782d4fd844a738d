//! Plots.

mod draw;
mod thin;

use super::{Show, clean, escape, ticks};
use base64::Engine as _;
use ticks::{Axis, Scale};

/// How many marks of one series are drawn at most. More would make a file of many megabytes, and no reader could tell them
/// apart.
const MOST_MARKS: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    Scatter,
    Level,
    Band,
    Errors,
    Bars,
}

/// A point, and the interval around it where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    x: f64,
    y: f64,
    interval: Option<(f64, f64)>,
}

impl Point {
    fn at(x: f64, y: f64) -> Self {
        Self { x, y, interval: None }
    }

    /// All of it that the vertical axis has to show.
    fn heights(&self) -> impl Iterator<Item = f64> {
        let (low, high) = self.interval.unwrap_or((self.y, self.y));
        [self.y, low, high].into_iter()
    }
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    kind: Kind,
    points: Vec<Point>,
}

#[derive(Debug, Clone)]
struct Annotation {
    at: (f64, f64),
    text: String,
}

/// A plot of lines, points, bands and bars, with a title, axes and a legend. Each series has a colour, a mark and, if it is a line,
/// a pattern of dashes of its own, so that they can be told apart in grey.
///
/// Of a series of more than 4,000 points only so many are drawn, of a line those that make its outline; the legend then says so.
///
/// ```
/// use igpt::show::Figure;
///
/// let figure = Figure::new("Attention")
///     .x("tokens").y("entries")
///     .line("dense", [(1024.0, 1024f64.powi(2)), (2304.0, 2304f64.powi(2))]);
/// assert!(figure.to_svg().starts_with("<svg"));
/// ```
#[derive(Debug, Clone)]
pub struct Figure {
    title: String,
    x: (String, Scale),
    y: (String, Scale),
    /// The names of 0, 1, 2, … on the horizontal axis, if these are no numbers.
    categories: Vec<String>,
    series: Vec<Series>,
    annotations: Vec<Annotation>,
    size: (u32, u32),
}

impl Figure {
    /// An empty figure with this title.
    pub fn new(title: impl Into<String>) -> Self {
        Self::of_title(&title.into())
    }

    fn of_title(title: &str) -> Self {
        Self {
            title: clean(title),
            x: Default::default(),
            y: Default::default(),
            categories: Vec::new(),
            series: Vec::new(),
            annotations: Vec::new(),
            size: (640, 380),
        }
    }

    /// Names the horizontal axis.
    #[must_use]
    pub fn x(self, name: impl Into<String>) -> Self {
        Self { x: (clean(&name.into()), self.x.1), ..self }
    }

    /// Names the vertical axis.
    #[must_use]
    pub fn y(self, name: impl Into<String>) -> Self {
        Self { y: (clean(&name.into()), self.y.1), ..self }
    }

    /// Makes the horizontal axis logarithmic, with marks at powers of two. Points at or below zero are left out.
    #[must_use]
    pub fn log2_x(self) -> Self {
        Self { x: (self.x.0, Scale::Log2), ..self }
    }

    /// Makes the horizontal axis logarithmic. Points at or below zero are left out.
    #[must_use]
    pub fn log_x(self) -> Self {
        Self { x: (self.x.0, Scale::Log10), ..self }
    }

    /// Makes the vertical axis logarithmic. Points at or below zero are left out.
    #[must_use]
    pub fn log_y(self) -> Self {
        Self { y: (self.y.0, Scale::Log10), ..self }
    }

    /// Sets the size in screen pixels (640 × 380 unless told).
    #[must_use]
    pub fn size(self, width: u32, height: u32) -> Self {
        Self { size: (width.clamp(200, 4000), height.clamp(150, 4000)), ..self }
    }

    /// Adds a line through these points, which are marked as long as they are few.
    #[must_use]
    pub fn line(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        self.series(name, Kind::Line, points)
    }

    /// Adds points.
    #[must_use]
    pub fn scatter(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        self.series(name, Kind::Scatter, points)
    }

    /// Adds a horizontal line, thin, across the whole figure: a figure reported elsewhere, say.
    #[must_use]
    pub fn level(self, name: impl Into<String>, y: impl Into<f64>) -> Self {
        self.series(name, Kind::Level, [(f64::NAN, y.into())])
    }

    /// Adds a band between two curves, (x, low, high): the interval around a line of the same name, which is then drawn in its
    /// colour and is named in the legend once.
    #[must_use]
    pub fn band(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        let points = points.into_iter().map(|(x, low, high)| {
            let (low, high) = (low.into(), high.into());
            Point { x: x.into(), y: low + (high - low) / 2.0, interval: Some((low, high)) }
        });
        self.push(&name.into(), Kind::Band, points.collect())
    }

    /// Adds a line through points with error bars, (x, y, low, high).
    #[must_use]
    pub fn errors(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>, impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        let points = points.into_iter().map(|(x, y, low, high)| Point {
            x: x.into(),
            y: y.into(),
            interval: Some((low.into(), high.into())),
        });
        self.push(&name.into(), Kind::Errors, points.collect())
    }

    /// Adds bars, one for each category in order, from zero up; several series of bars stand side by side. `intervals` are drawn on
    /// top of them; none, or one for each.
    #[must_use]
    pub fn bars(
        self,
        name: impl Into<String>,
        heights: impl IntoIterator<Item = impl Into<f64>>,
        intervals: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let mut intervals = intervals.into_iter();
        let points = heights.into_iter().enumerate().map(|(at, height)| Point {
            x: at as f64,
            y: height.into(),
            interval: intervals.next(),
        });
        self.push(&name.into(), Kind::Bars, points.collect())
    }

    /// Names what stands at 0, 1, 2, … on the horizontal axis: the categories of bars.
    #[must_use]
    pub fn categories(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { categories: names.into_iter().map(|name| clean(&name.into())).collect(), ..self }
    }

    /// Writes a short text beside a point.
    #[must_use]
    pub fn annotate(mut self, x: impl Into<f64>, y: impl Into<f64>, text: impl Into<String>) -> Self {
        self.annotations.push(Annotation { at: (x.into(), y.into()), text: clean(&text.into()) });
        self
    }

    fn series(
        self,
        name: impl Into<String>,
        kind: Kind,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        self.push(
            &name.into(),
            kind,
            points.into_iter().map(|(x, y)| Point::at(x.into(), y.into())).collect(),
        )
    }

    fn push(mut self, name: &str, kind: Kind, points: Vec<Point>) -> Self {
        self.series.push(Series { name: clean(name), kind, points });
        self
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let bars = self.series.iter().any(|series| series.kind == Kind::Bars);
        // Bars stand on zero.
        let ground = bars.then_some(0.0);
        let (width, height) = self.size;
        let heights = points().flat_map(Point::heights).chain(ground);
        let y = Axis::of(self.y.1, heights, (height / 60) as usize);
        if bars || !self.categories.is_empty() {
            let last = points().map(|point| point.x).filter(|x| x.is_finite()).fold(0.0, f64::max);
            let count = self.categories.len().max((last as usize).saturating_add(1));
            return (Axis::of_categories(&self.categories, count), y);
        }
        (Axis::of(self.x.1, points().map(|point| point.x), (width / 70) as usize), y)
    }

    /// The colour, mark and dashes of a series: those of the first series of its name, so that a band and its line go together.
    fn style_of(&self, at: usize) -> usize {
        let mut names: Vec<&str> = Vec::new();
        for series in &self.series[..at] {
            if series.name.is_empty() || !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        let name = self.series[at].name.as_str();
        names.iter().position(|known| !name.is_empty() && *known == name).unwrap_or(names.len())
    }
}

impl Figure {
    /// Where a line is highest and lowest, unless its ends say that.
    fn extremes(&self, series: &Series) -> Option<String> {
        if !matches!(series.kind, Kind::Line | Kind::Errors) || series.points.len() < 3 {
            return None;
        }
        let finite = || series.points.iter().filter(|point| point.y.is_finite());
        let (first, last) = (finite().next()?.y, finite().next_back()?.y);
        let most = finite().max_by(|a, b| a.y.total_cmp(&b.y))?;
        let least = finite().min_by(|a, b| a.y.total_cmp(&b.y))?;
        let said = |word: &str, point: &Point| {
            format!("{word} {} at {}", ticks::reading(point.y), ticks::reading(point.x))
        };
        let mut all = Vec::new();
        if most.y > first.max(last) {
            all.push(said("highest", most));
        }
        if least.y < first.min(last) {
            all.push(said("lowest", least));
        }
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// All bars, with their categories.
    fn bars_in_words(&self, series: &Series) -> String {
        let bar = |point: &Point| {
            let name =
                self.categories.get(point.x as usize).cloned().unwrap_or_else(|| ticks::reading(point.x));
            let interval = point.interval.map_or_else(String::new, |(low, high)| {
                format!(" (from {} to {})", ticks::reading(low), ticks::reading(high))
            });
            format!("{name} {}{interval}", ticks::reading(point.y))
        };
        const MOST: usize = 50;
        let mut words: Vec<String> = series.points.iter().take(MOST).map(bar).collect();
        if series.points.len() > MOST {
            words.push(format!("and {} more", series.points.len() - MOST));
        }
        words.join(", ")
    }
}

impl Show for Figure {
    fn to_html(&self) -> String {
        let svg = base64::engine::general_purpose::STANDARD.encode(self.to_svg());
        let (width, height) = self.size;
        // White paper on any theme: all colours of the figure are chosen for it.
        format!(
            "<img src=\"data:image/svg+xml;base64,{svg}\" width=\"{width}\" height=\"{height}\" alt=\"{}\" \
             style=\"background:#fff;border-radius:6px;max-width:100%;height:auto;margin:.2em 0\">\n",
            escape(&self.to_text())
        )
    }

    fn to_text(&self) -> String {
        let describe = |(name, scale): &(String, Scale)| match scale {
            Scale::Linear => name.clone(),
            _ => format!("{name}, logarithmic"),
        };
        let mut text =
            format!("Figure: {} (x: {}; y: {})\n", self.title, describe(&self.x), describe(&self.y));
        for series in &self.series {
            let number = |x: f64| ticks::reading(x);
            let point = |point: Point| match point.interval {
                Some((low, high)) => {
                    format!(
                        "({}, {} from {} to {})",
                        number(point.x),
                        number(point.y),
                        number(low),
                        number(high)
                    )
                }
                None => format!("({}, {})", number(point.x), number(point.y)),
            };
            let what = match (series.kind, series.points.first(), series.points.last()) {
                (Kind::Level, Some(level), _) => format!("at {}", number(level.y)),
                (Kind::Bars, Some(_), _) => self.bars_in_words(series),
                (_, Some(only), _) if series.points.len() == 1 => format!("one point at {}", point(*only)),
                (_, Some(first), Some(last)) => {
                    let count = super::fixed(series.points.len() as f64, 0).into_text();
                    format!("{count} points from {} to {}", point(*first), point(*last))
                }
                _ => "no points".into(),
            };
            let what =
                self.extremes(series).map_or_else(|| what.clone(), |extremes| format!("{what}, {extremes}"));
            let name = if series.name.is_empty() { "one series" } else { &series.name };
            text.push_str(&format!("  {name}: {what}\n"));
        }
        for Annotation { at, text: said } in &self.annotations {
            text.push_str(&format!("  at ({}, {}): {said}\n", ticks::reading(at.0), ticks::reading(at.1)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        Figure::new("Error <dB> & \"more\"")
            .x("colours")
            .y("PSNR (dB)")
            .log2_x()
            .line("32² & up", (1..=9).map(|bits| (2f64.powi(bits), 3.0 * f64::from(bits) + 8.0)))
            .scatter("points", [(4.0, 20.0), (f64::NAN, 1.0), (0.0, 2.0)])
            .level("reported", 30)
    }

    /// Checks that every tag is closed, in order.
    fn assert_well_formed(svg: &str) {
        let (mut open, mut rest) = (Vec::new(), svg);
        while let Some(at) = rest.find('<') {
            let end = rest[at..].find('>').expect("a tag that does not end") + at;
            let tag = &rest[at + 1..end];
            let name =
                tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default().to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_svg_is_well_formed_and_needs_no_font_file() {
        let svg = figure().to_svg();
        assert_well_formed(&svg);
        assert!(
            svg.starts_with("<svg width=\"640\" height=\"380\" viewBox=\"0 0 2560 1520\""),
            "{}",
            &svg[..100]
        );
        assert!(svg.contains("Error &lt;dB&gt; &amp; "));
        assert!(svg.contains("font-family=\"sans-serif\""));
        for word in ["font-face", "url(", "href", "<path", ".ttf"] {
            assert!(!svg.contains(word), "{word}");
        }
    }

    #[test]
    fn a_figure_is_the_same_each_time() {
        assert_eq!(figure().to_html(), figure().to_html());
    }

    #[test]
    fn figures_without_data_or_with_odd_data_are_drawn() {
        let none: [(f64, f64); 0] = [];
        for figure in [
            Figure::new(""),
            Figure::new("t").line("none", none),
            Figure::new("t").line("nan", [(f64::NAN, f64::INFINITY)]).log_y(),
            Figure::new("t").scatter("one", [(3.0, 3.0)]).log_x(),
            Figure::new("t").line("flat", [(0.0, 5.0), (1.0, 5.0)]).size(1, 1),
            Figure::new("t").line("huge", [(0.0, -1e300), (1.0, 1e300)]),
            Figure::new("t")
                .bars("one", [1.0, f64::NAN, -3.0], [(0.5, 1.5)])
                .bars("two", [2.0], [])
                .categories(["a"]),
            Figure::new("t").bars("none", none.map(|(x, _)| x), []),
            Figure::new("t")
                .band("b", [(0.0, f64::NAN, 1.0), (1.0, 2.0, 3.0)])
                .line("b", [(0.0, 1.0), (1.0, 2.0)]),
            Figure::new("t").errors("e", [(0.0, 1.0, f64::NEG_INFINITY, 2.0), (1.0, 2.0, 1.0, 3.0)]).log_y(),
            Figure::new("t").annotate(1.0, 2.0, "alone"),
        ] {
            assert_well_formed(&figure.to_svg());
            assert!(!figure.to_text().is_empty());
        }
    }

    #[test]
    fn the_text_tells_the_data() {
        let text = Figure::new("T").x("x").y("y").log_y().line("a", [(1, 2), (3, 4)]).to_text();
        assert_eq!(text, "Figure: T (x: x; y: y, logarithmic)\n  a: 2 points from (1, 2) to (3, 4)\n");
    }

    /// Where a series' marks are, in fine pixels from the top.
    fn heights(figure: &Figure) -> Vec<i32> {
        let svg = figure.to_svg();
        let circles = svg.split("<circle ").skip(1);
        circles.filter_map(|c| c.split("cy=\"").nth(1)?.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn numbers_at_the_ends_of_what_there_is_have_places_of_their_own() {
        for (low, high) in [
            (-1.7e308, 1.7e308),
            (5e-324, 1e-323),
            (1.0, 1.0 + f64::EPSILON),
            (-1e-310, 1e-310),
            (1e300, 1.7e308),
        ] {
            let figure = Figure::new("t").line("", [(0.0, high), (1.0, low)]);
            let marks = heights(&figure);
            assert!(marks.len() == 2 && marks[1] - marks[0] > 200, "{low:e} {high:e}: {marks:?}");
            let (_, y) = figure.axes();
            let mut labels: Vec<&String> = y.marks.iter().map(|(_, label)| label).collect();
            let all = labels.len();
            labels.dedup();
            assert!(labels.len() == all && (2..30).contains(&all), "{low:e} {high:e}: {:?}", y.marks);
            assert!(!labels.iter().any(|label| label.contains("inf") || label.contains("NaN")), "{labels:?}");
        }
        // A single point far out has few marks beside it, and none of them is infinite.
        let (_, y) = Figure::new("t").scatter("", [(0.0, 1.7e308)]).axes();
        assert!(y.marks.len() < 20 && y.marks.iter().all(|(_, label)| !label.contains("inf")), "{y:?}");
    }

    #[test]
    fn a_million_points_make_no_file_of_megabytes() {
        let wave = |i: u32| (f64::from(i), (f64::from(i) / 1000.0).sin());
        let mut points: Vec<(f64, f64)> = (0..1_000_000).map(wave).collect();
        // One that must not get lost.
        points[512_345].1 = 7.0;
        let figure = Figure::new("t").line("long", points.iter().copied()).scatter("all", points);
        let svg = figure.to_svg();
        assert!(svg.len() < 2_000_000, "{}", svg.len());
        assert_well_formed(&svg);
        assert!(svg.contains("long (thinned out)") && figure.to_text().contains("1,000,000 points"));
        let top = heights(&figure).into_iter().min().unwrap();
        assert!(heights(&figure).iter().filter(|at| **at == top).count() >= 1);
        // The good twin: a few are all drawn, and nothing is said.
        let few = Figure::new("t").scatter("few", (0..100).map(wave));
        assert_eq!(heights(&few).len(), 100 + 1);
        assert!(!few.to_svg().contains("thinned"));
    }

    #[test]
    fn a_title_of_anything_is_well_formed() {
        let odd: String =
            ('\u{0}'..='\u{ff}').chain(['\u{fffe}', '\u{ffff}', '\u{1fffe}', '\u{2028}']).collect();
        let svg = Figure::new(odd.clone())
            .x(odd.clone())
            .line(odd.clone(), [(0.0, 1.0)])
            .annotate(0, 1, odd)
            .to_svg();
        assert!(!svg.contains(['\u{0}', '\u{b}', '\u{fffe}', '\u{ffff}']));
        assert_well_formed(&svg);
    }

    #[test]
    fn series_can_be_told_apart_without_colours() {
        let three = |i: i32| (0..3).map(move |x| (f64::from(x), f64::from(x * i)));
        let svg = Figure::new("").line("a", three(1)).line("b", three(2)).line("c", three(3)).to_svg();
        // Circles, squares and triangles: polygons have three or four corners.
        let corners: std::collections::HashSet<usize> = svg
            .split("<polygon ")
            .skip(1)
            .filter_map(|polygon| {
                Some(polygon.split("points=\"").nth(1)?.split('"').next()?.split_whitespace().count())
            })
            .collect();
        assert!(svg.contains("<circle") && corners.len() >= 2, "{corners:?}");
    }

    #[test]
    fn bands_go_with_their_line_and_bars_with_their_names() {
        let figure = Figure::new("F")
            .line("ours", [(0, 1), (1, 3), (2, 2)])
            .band("ours", [(0, 0, 2), (1, 2, 4), (2, 1, 3)])
            .line("theirs", [(0, 1), (2, 4)])
            .annotate(1, 3, "the best");
        assert_eq!([0, 1, 2].map(|at| figure.style_of(at)), [0, 0, 1]);
        let text = figure.to_text();
        assert!(text.contains("ours: 3 points from (0, 1) to (2, 2), highest 3 at 1"), "{text}");
        assert!(text.contains("at (1, 3): the best"), "{text}");
        assert_eq!(figure.to_svg().matches(">\nours\n<").count(), 1, "{}", figure.to_svg());
        let bars = Figure::new("F").categories(["AR", "BERT"]).bars("probe", [96.3, 90.0], [(96.0, 96.6)]);
        assert!(bars.to_text().contains("probe: AR 96.3 (from 96 to 96.6), BERT 90"), "{}", bars.to_text());
        assert!(bars.to_svg().contains("BERT"));
    }
}
