//! Plots.

use super::{Show, clean, escape, ticks};
use base64::Engine as _;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use ticks::{Axis, Scale};

/// plotters places everything on whole pixels, so figures are drawn this much larger and shown this much smaller.
const FINE: i32 = 4;
/// Told apart by most colour-blind people (after Okabe and Ito), and dark enough on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 96, 170),
    RGBColor(213, 94, 0),
    RGBColor(0, 140, 100),
    RGBColor(180, 80, 140),
    RGBColor(215, 145, 0),
    RGBColor(50, 150, 205),
    RGBColor(70, 70, 70),
];
const INK: RGBColor = RGBColor(38, 42, 48);
const GRID: RGBColor = RGBColor(226, 229, 233);
const FRAME: RGBColor = RGBColor(120, 126, 134);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    Scatter,
    Level,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    kind: Kind,
    points: Vec<(f64, f64)>,
}

/// A plot of lines and points, with a title, axes and a legend.
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
    series: Vec<Series>,
    size: (u32, u32),
}

impl Figure {
    /// An empty figure with this title.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: clean(&title.into()),
            x: Default::default(),
            y: Default::default(),
            series: Vec::new(),
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

    fn series(
        mut self,
        name: impl Into<String>,
        kind: Kind,
        points: impl IntoIterator<Item = (impl Into<f64>, impl Into<f64>)>,
    ) -> Self {
        let points = points.into_iter().map(|(x, y)| (x.into(), y.into())).collect();
        self.series.push(Series { name: clean(&name.into()), kind, points });
        self
    }

    /// The coordinates of a series' points. Levels have no coordinate in x; where a point has no coordinate, a line is interrupted.
    fn coordinates(&self, series: &Series) -> Vec<Option<(f64, f64)>> {
        let coordinate = |(x, y): &(f64, f64)| Some((self.x.1.coordinate(*x)?, self.y.1.coordinate(*y)?));
        series.points.iter().map(coordinate).collect()
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let axis = |scale: Scale, values: Vec<f64>, wanted| {
            let coordinates = || values.iter().filter_map(|value| scale.coordinate(*value));
            let (least, most) =
                coordinates().fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
            if least <= most {
                ticks::axis(scale, least, most, wanted)
            } else {
                ticks::axis(Scale::Linear, 0.0, 1.0, wanted)
            }
        };
        let (width, height) = self.size;
        (
            axis(self.x.1, points().map(|p| p.0).collect(), (width / 70) as usize),
            axis(self.y.1, points().map(|p| p.1).collect(), (height / 60) as usize),
        )
    }

    /// The figure as an SVG file. Its texts are texts, in the reader's sans-serif font.
    pub fn to_svg(&self) -> String {
        let (width, height) = self.size;
        let mut svg = String::new();
        // Drawing into memory fails for no reason that a caller could mend; a figure without its last strokes is
        // better than none.
        let _ = self.draw(&mut svg);
        let fine = FINE as u32;
        let (large, small) = (
            format!("width=\"{}\" height=\"{}\" viewBox", width * fine, height * fine),
            format!("width=\"{width}\" height=\"{height}\" viewBox"),
        );
        svg.replacen(&large, &small, 1)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let (width, height) = (self.size.0 as i32 * FINE, self.size.1 as i32 * FINE);
        let root = SVGBackend::with_string(svg, (width as u32, height as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let (x_axis, y_axis) = self.axes();

        let font = |size: i32| ("sans-serif", size * FINE).into_font().color(&INK);
        let left = Pos::new(HPos::Left, VPos::Center);
        let mut top = 12 * FINE;
        if !self.title.is_empty() {
            let style = ("sans-serif", 18 * FINE, FontStyle::Bold).into_font().color(&INK).pos(left);
            root.draw(&Text::new(self.title.clone(), (16 * FINE, top + 8 * FINE), style))?;
            top += 26 * FINE;
        }
        top = self.draw_legend(&root, top, font(15).pos(left))?;

        let longest = y_axis.marks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(1) as i32;
        let mut chart = ChartBuilder::on(&root)
            .margin_top(top + 8 * FINE)
            .margin_right(24 * FINE)
            .margin_bottom(8 * FINE)
            .margin_left(8 * FINE)
            .x_label_area_size(46 * FINE)
            .y_label_area_size((34 + 8 * longest) * FINE)
            .build_cartesian_2d(x_axis.clone(), y_axis.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(FINE as u32))
            .axis_style(FRAME.stroke_width(FINE as u32))
            .set_all_tick_mark_size(4 * FINE)
            .label_style(font(15))
            .axis_desc_style(font(16))
            .x_desc(&self.x.0)
            .y_desc(&self.y.0)
            .draw()?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let thick = colour.stroke_width(2 * FINE as u32);
            if series.kind == Kind::Level {
                let level = series.points.iter().filter_map(|(_, y)| self.y.1.coordinate(*y));
                for y in level {
                    let thin = colour.stroke_width(FINE as u32 * 3 / 2);
                    chart.draw_series(DashedLineSeries::new(
                        [(x_axis.from, y), (x_axis.to, y)],
                        6 * FINE,
                        4 * FINE,
                        thin,
                    ))?;
                }
                continue;
            }
            let coordinates = self.coordinates(series);
            if series.kind == Kind::Line {
                for part in coordinates.split(Option::is_none) {
                    chart.draw_series(LineSeries::new(part.iter().flatten().copied(), thick))?;
                }
            }
            if series.kind == Kind::Scatter || series.points.len() <= 24 {
                let size = 7 * FINE / 2;
                chart.draw_series(
                    coordinates.iter().flatten().map(|at| Circle::new(*at, size, colour.filled())),
                )?;
            }
        }
        root.present()?;
        Ok(())
    }

    /// Draws the legend above the plot, where it covers nothing, in as many lines as it needs. Returns where it ends.
    fn draw_legend(
        &self,
        root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        top: i32,
        style: TextStyle<'_>,
    ) -> Result<i32, Box<dyn std::error::Error>> {
        let named = || self.series.iter().zip(COLOURS.iter().cycle()).filter(|(s, _)| !s.name.is_empty());
        if named().next().is_none() {
            return Ok(top);
        }
        let right = (self.size.0 as i32 - 16) * FINE;
        let (mut x, mut y) = (16 * FINE, top + 8 * FINE);
        for (series, colour) in named() {
            // Nobody knows the reader's font: reckon with a wide one.
            let wide = (30 + 18 + series.name.chars().count() as i32 * 13 / 2) * FINE;
            if x + wide > right && x > 16 * FINE {
                (x, y) = (16 * FINE, y + 18 * FINE);
            }
            let stroke = colour.stroke_width(if series.kind == Kind::Level { 6 } else { 2 * FINE as u32 });
            match series.kind {
                Kind::Line => root.draw(&PathElement::new([(x, y), (x + 22 * FINE, y)], stroke))?,
                Kind::Level => {
                    for part in [0, 8, 16] {
                        let (from, to) = (x + part * FINE, x + (part + 6) * FINE);
                        root.draw(&PathElement::new([(from, y), (to, y)], stroke))?;
                    }
                }
                Kind::Scatter => {}
            }
            if series.kind != Kind::Level {
                root.draw(&Circle::new((x + 11 * FINE, y), 7 * FINE / 2, colour.filled()))?;
            }
            root.draw(&Text::new(series.name.clone(), (x + 29 * FINE, y), style.clone()))?;
            x += wide;
        }
        Ok(y + 10 * FINE)
    }
}

/// For plotters: an axis that has its marks where we want them.
impl Ranged for Axis {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, coordinate: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (coordinate - self.from) / (self.to - self.from);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.iter().map(|(coordinate, _)| *coordinate).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(coordinate: &f64) -> String {
        coordinate.to_string()
    }

    fn format_ext(&self, coordinate: &f64) -> String {
        self.marks.iter().find(|(at, _)| at == coordinate).map_or(String::new(), |(_, label)| label.clone())
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
            let point = |(x, y): (f64, f64)| format!("({}, {})", number(x), number(y));
            let what = match (series.kind, series.points.first(), series.points.last()) {
                (Kind::Level, Some(level), _) => format!("at {}", number(level.1)),
                (_, Some(only), _) if series.points.len() == 1 => format!("one point at {}", point(*only)),
                (_, Some(first), Some(last)) => {
                    format!("{} points from {} to {}", series.points.len(), point(*first), point(*last))
                }
                _ => "no points".into(),
            };
            let name = if series.name.is_empty() { "one series" } else { &series.name };
            text.push_str(&format!("  {name}: {what}\n"));
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
}
