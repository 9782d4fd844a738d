//! How a figure is drawn, with plotters.

use super::{Figure, Kind, MOST_MARKS, Point, Series, thin};
use crate::show::ticks::Axis;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::{Shift, cartesian::Cartesian2d};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

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
/// Dash and gap of a line in screen pixels; the first is unbroken.
const DASHES: [Option<(i32, i32)>; 5] = [None, Some((9, 4)), Some((3, 3)), Some((14, 4)), Some((6, 6))];
const INK: RGBColor = RGBColor(38, 42, 48);
const GRID: RGBColor = RGBColor(226, 229, 233);
const FRAME: RGBColor = RGBColor(120, 126, 134);
/// Marks are drawn on a line as long as they are this few.
const FEW: usize = 24;

type Any = Box<dyn std::error::Error>;
type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// A series' colour, mark and dashes.
#[derive(Clone, Copy)]
struct Style(usize);

impl Style {
    fn colour(self) -> RGBColor {
        COLOURS[self.0 % COLOURS.len()]
    }

    fn dashes(self) -> Option<(i32, i32)> {
        DASHES[self.0 % DASHES.len()]
    }

    /// The corners of its mark around (0, 0), in fine pixels; none for a circle.
    fn corners(self) -> Option<Vec<(i32, i32)>> {
        let r = 4 * FINE;
        match self.0 % 5 {
            0 => None,
            1 => Some(vec![(-r + 2, -r + 2), (r - 2, -r + 2), (r - 2, r - 2), (-r + 2, r - 2)]),
            2 => Some(vec![(0, -r), (r, r - 2), (-r, r - 2)]),
            3 => Some(vec![(0, -r - 2), (r + 2, 0), (0, r + 2), (-r - 2, 0)]),
            _ => Some(vec![(0, r), (-r, -r + 2), (r, -r + 2)]),
        }
    }
}

impl Figure {
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

    fn draw(&self, svg: &mut String) -> Result<(), Any> {
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
        let bars: Vec<usize> = self.of_kind(Kind::Bars).collect();
        // Bands lie below everything else.
        for at in self.of_kind(Kind::Band) {
            self.draw_band(&mut chart, at)?;
        }
        for (at, series) in self.series.iter().enumerate() {
            match series.kind {
                Kind::Band => {}
                Kind::Level => self.draw_level(&mut chart, at)?,
                Kind::Bars => {
                    let place = bars.iter().position(|bar| *bar == at).unwrap_or_default();
                    self.draw_bars(&mut chart, at, place, bars.len())?;
                }
                Kind::Line | Kind::Scatter | Kind::Errors => self.draw_points(&mut chart, at)?,
            }
        }
        for annotation in &self.annotations {
            if let Some(at) = self.place(annotation.at.0, annotation.at.1) {
                let element = EmptyElement::at(at)
                    + Text::new(annotation.text.clone(), (7 * FINE, -9 * FINE), font(14).pos(left));
                chart.draw_series(std::iter::once(element))?;
            }
        }
        root.present()?;
        Ok(())
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = usize> {
        self.series.iter().enumerate().filter(move |(_, series)| series.kind == kind).map(|(at, _)| at)
    }

    /// The coordinates of a point, if it has any.
    fn place(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.x.1.coordinate(x)?, self.y.1.coordinate(y)?))
    }

    /// The coordinates of a series' points, thinned out if they are too many, in the parts between which a line is interrupted: where a
    /// point has no coordinate.
    fn parts(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let all: Vec<_> = series.points.iter().map(|point| self.place(point.x, point.y)).collect();
        let parts = all.split(Option::is_none).filter(|part| !part.is_empty());
        let parts: Vec<Vec<(f64, f64)>> =
            parts.map(|part| part.iter().flatten().copied().collect()).collect();
        if series.points.len() <= MOST_MARKS {
            return parts;
        }
        if series.kind == Kind::Scatter {
            return vec![thin::cloud(&parts.concat(), MOST_MARKS)];
        }
        let share = MOST_MARKS / parts.len().clamp(1, MOST_MARKS / 4);
        parts.iter().take(MOST_MARKS / 4).map(|part| thin::line(part, share)).collect()
    }

    fn draw_level(&self, chart: &mut Chart<'_, '_>, at: usize) -> Result<(), Any> {
        let colour = Style(self.style_of(at)).colour();
        let along = chart.x_range();
        let levels = self.series[at].points.iter().filter_map(|point| self.y.1.coordinate(point.y));
        for y in levels.take(MOST_MARKS) {
            let thin = colour.stroke_width(FINE as u32 * 3 / 2);
            let line = [(along.start, y), (along.end, y)];
            chart.draw_series(DashedLineSeries::new(line, 6 * FINE, 4 * FINE, thin))?;
        }
        Ok(())
    }

    fn draw_band(&self, chart: &mut Chart<'_, '_>, at: usize) -> Result<(), Any> {
        let colour = Style(self.style_of(at)).colour().mix(0.18);
        let edges = |point: &Point| {
            let (low, high) = point.interval?;
            Some((self.place(point.x, low)?, self.place(point.x, high)?))
        };
        let points = &self.series[at].points;
        let step = points.len().div_ceil(MOST_MARKS).max(1);
        let edges: Vec<_> = points.iter().step_by(step).map(edges).collect();
        for part in edges.split(Option::is_none).filter(|part| part.len() > 1) {
            let lower = part.iter().flatten().map(|(low, _)| *low);
            let upper = part.iter().flatten().rev().map(|(_, high)| *high);
            chart
                .draw_series(std::iter::once(Polygon::new(lower.chain(upper).collect::<Vec<_>>(), colour)))?;
        }
        Ok(())
    }

    fn draw_points(&self, chart: &mut Chart<'_, '_>, at: usize) -> Result<(), Any> {
        let (series, style) = (&self.series[at], Style(self.style_of(at)));
        let thick = style.colour().stroke_width(2 * FINE as u32);
        let parts = self.parts(series);
        if series.kind != Kind::Scatter {
            for part in &parts {
                let line = part.iter().copied();
                match style.dashes() {
                    None => drop(chart.draw_series(LineSeries::new(line, thick))?),
                    Some((dash, gap)) => {
                        chart.draw_series(DashedLineSeries::new(line, dash * FINE, gap * FINE, thick))?;
                    }
                }
            }
        }
        for point in series.points.iter().take(MOST_MARKS) {
            self.draw_interval(chart, point, point.x, style.colour())?;
        }
        if series.kind != Kind::Line || series.points.len() <= FEW {
            for at in parts.concat() {
                draw_mark(chart, at, style)?;
            }
        }
        Ok(())
    }

    /// An error bar, if the point has one.
    fn draw_interval(
        &self,
        chart: &mut Chart<'_, '_>,
        point: &Point,
        x: f64,
        colour: RGBColor,
    ) -> Result<(), Any> {
        let Some((low, high)) = point.interval else { return Ok(()) };
        let Some(high) = self.place(x, high) else { return Ok(()) };
        // What a logarithmic axis has no place for reaches below the figure.
        let low = self.place(x, low).unwrap_or((high.0, chart.y_range().start));
        let stroke = colour.stroke_width(FINE as u32 * 3 / 2);
        chart.draw_series(std::iter::once(PathElement::new([low, high], stroke)))?;
        for end in [low, high] {
            let cap = EmptyElement::at(end) + PathElement::new([(-4 * FINE, 0), (4 * FINE, 0)], stroke);
            chart.draw_series(std::iter::once(cap))?;
        }
        Ok(())
    }

    fn draw_bars(&self, chart: &mut Chart<'_, '_>, at: usize, place: usize, of: usize) -> Result<(), Any> {
        let (series, colour) = (&self.series[at], Style(self.style_of(at)).colour());
        let width = 0.8 / of as f64;
        let ground = self.y.1.coordinate(0.0).unwrap_or_else(|| chart.y_range().start);
        for point in series.points.iter().take(MOST_MARKS) {
            let from = point.x - 0.4 + width * place as f64;
            let Some(top) = self.y.1.coordinate(point.y) else { continue };
            // The later a series, the lighter its bars: so they differ in grey.
            let fill = colour.mix(1.0 - 0.45 * place as f64 / of as f64);
            let bar = [(from + 0.02, ground), (from + width - 0.02, top)];
            chart.draw_series(std::iter::once(Rectangle::new(bar, fill.filled())))?;
            self.draw_interval(chart, point, from + width / 2.0, INK)?;
        }
        Ok(())
    }

    /// Draws the legend above the plot, where it covers nothing, in as many lines as it needs. Returns where it ends.
    fn draw_legend(&self, root: &Root<'_>, top: i32, style: TextStyle<'_>) -> Result<i32, Any> {
        let mut named: Vec<usize> = Vec::new();
        for (at, series) in self.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty()) {
            // A band is in its line's place.
            match named.iter().position(|known| self.series[*known].name == series.name) {
                None => named.push(at),
                Some(known) if self.series[named[known]].kind == Kind::Band => named[known] = at,
                Some(_) => {}
            }
        }
        if named.is_empty() {
            return Ok(top);
        }
        let right = (self.size.0 as i32 - 16) * FINE;
        let (mut x, mut y) = (16 * FINE, top + 8 * FINE);
        for at in named {
            let (series, look) = (&self.series[at], Style(self.style_of(at)));
            let mut name = series.name.clone();
            if series.points.len() > MOST_MARKS {
                name.push_str(" (thinned out)");
            }
            // Nobody knows the reader's font: reckon with a wide one.
            let wide = (30 + 18 + name.chars().count() as i32 * 13 / 2) * FINE;
            if x + wide > right && x > 16 * FINE {
                (x, y) = (16 * FINE, y + 18 * FINE);
            }
            let colour = look.colour();
            let stroke = colour.stroke_width(if series.kind == Kind::Level { 6 } else { 2 * FINE as u32 });
            let dash = |from: i32, to: i32| {
                root.draw(&PathElement::new([(x + from * FINE, y), (x + to * FINE, y)], stroke))
            };
            match (series.kind, look.dashes()) {
                (Kind::Line | Kind::Errors, None) => dash(0, 22)?,
                (Kind::Line | Kind::Errors, Some((long, gap))) => {
                    for from in (0..22).step_by((long + gap) as usize) {
                        dash(from, (from + long).min(22))?;
                    }
                }
                (Kind::Level, _) => {
                    for from in [0, 8, 16] {
                        dash(from, from + 6)?;
                    }
                }
                (Kind::Band | Kind::Bars, _) => {
                    let corners = [(x, y - 6 * FINE), (x + 22 * FINE, y + 6 * FINE)];
                    let fill = colour.mix(if series.kind == Kind::Band { 0.18 } else { 1.0 });
                    root.draw(&Rectangle::new(corners, fill.filled()))?;
                }
                (Kind::Scatter, _) => {}
            }
            if matches!(series.kind, Kind::Line | Kind::Errors | Kind::Scatter) {
                let centre = (x + 11 * FINE, y);
                match look.corners() {
                    None => root.draw(&Circle::new(centre, 7 * FINE / 2, colour.filled()))?,
                    Some(corners) => {
                        let moved = corners.iter().map(|(dx, dy)| (centre.0 + dx, centre.1 + dy));
                        root.draw(&Polygon::new(moved.collect::<Vec<_>>(), colour.filled()))?;
                    }
                }
            }
            root.draw(&Text::new(name, (x + 29 * FINE, y), style.clone()))?;
            x += wide;
        }
        Ok(y + 10 * FINE)
    }
}

fn draw_mark(chart: &mut Chart<'_, '_>, at: (f64, f64), style: Style) -> Result<(), Any> {
    let fill = style.colour().filled();
    match style.corners() {
        None => chart.draw_series(std::iter::once(Circle::new(at, 7 * FINE / 2, fill)))?,
        Some(corners) => {
            chart.draw_series(std::iter::once(EmptyElement::at(at) + Polygon::new(corners, fill)))?
        }
    };
    Ok(())
}

/// For plotters: an axis that has its marks where we want them.
impl Ranged for Axis {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, coordinate: &f64, (start, end): (i32, i32)) -> i32 {
        start + (self.share(*coordinate) * f64::from(end - start)).round() as i32
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
