//! Fewer points for a figure that would have too many, without losing what a reader sees.

/// At most about `most` of a line's points: of each stretch of the line the first, the lowest, the highest and the last.
pub(super) fn line(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil((most / 4).max(1));
    let mut kept = Vec::with_capacity(most + 4);
    for (number, part) in points.chunks(stretch).enumerate() {
        let by = |a: &usize, b: &usize| part[*a].1.total_cmp(&part[*b].1);
        let mut places = vec![0, part.len() - 1];
        places.extend((0..part.len()).min_by(by));
        places.extend((0..part.len()).max_by(by));
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|at| points[number * stretch + at]));
    }
    kept
}

/// At most about `most` of some points: one in each of as many squares of the plane, and the outermost.
pub(super) fn cloud(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)))
    };
    let x = bounds(&mut points.iter().map(|point| point.0));
    let y = bounds(&mut points.iter().map(|point| point.1));
    let squares = (most as f64).sqrt().floor().max(1.0);
    let square = |value: f64, (low, high): (f64, f64)| {
        if high > low { ((value - low) / (high - low) * (squares - 1.0)).round() as u32 } else { 0 }
    };
    let mut seen = std::collections::HashSet::new();
    let outermost = |(a, b): &(f64, f64)| [x.0, x.1].contains(a) || [y.0, y.1].contains(b);
    let mut out = 0;
    let keep = |point: &&(f64, f64)| {
        let is_new = seen.insert((square(point.0, x), square(point.1, y)));
        // Of many that lie at the edge the first hundred do.
        let is_out = outermost(point) && out < 100;
        out += usize::from(is_out);
        is_new || is_out
    };
    points.iter().filter(keep).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_are_kept() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), f64::from(i % 7))).collect();
        points[54_321].1 = 99.0;
        points[54_322].1 = -99.0;
        for thin in [line, cloud] {
            let kept = thin(&points, 400);
            assert!(kept.len() <= 600 && kept.len() > 20, "{}", kept.len());
            assert!(kept.contains(&points[54_321]) && kept.contains(&points[54_322]));
            assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(thin(&points[..300], 400), points[..300]);
        }
        assert_eq!(line(&points, 400).first(), points.first());
        assert_eq!(line(&points, 400).last(), points.last());
        assert_eq!(cloud(&[(1.0, 1.0); 500], 100).len(), 100);
    }
}
