//! L-BFGS: minimises a smooth function from its values and gradients (Nocedal and Wright, "Numerical Optimization",
//! 2nd edition, algorithms 7.4 and 7.5, with the line search of algorithms 3.5 and 3.6).

use super::kernels::dot;
use crate::{Result, stop};
use std::collections::VecDeque;

/// How many pairs of steps and changes of the gradient describe the curvature.
const MEMORY: usize = 10;
/// A step must lower the value by this share of what the slope promises (the first Wolfe condition).
const DECREASE: f64 = 1e-4;
/// A step must leave at most this share of the slope, whatever its sign (the second, strong Wolfe condition).
const CURVATURE: f64 = 0.9;
/// Most evaluations of one line search.
const MOST_TRIALS: usize = 30;

/// How a minimisation ended.
#[derive(Debug, Clone)]
pub(super) struct Minimum {
    /// Where.
    pub(super) at: Vec<f64>,
    /// Steps that were taken.
    pub(super) iterations: usize,
    /// How often the function was computed.
    pub(super) evaluations: usize,
    /// Whether the gradient's norm came down to the tolerance.
    pub(super) converged: bool,
}

/// Minimises `function`, which writes its gradient and returns its value, until the gradient's Euclidean norm is at
/// most `tolerance`. Ends earlier after `most` steps, or when rounding hides any further descent.
///
/// # Errors
/// [`Error::Interrupted`](crate::Error) if someone asks to stop.
pub(super) fn minimise(
    function: impl FnMut(&[f64], &mut [f64]) -> f64,
    start: Vec<f64>,
    tolerance: f64,
    most: usize,
) -> Result<Minimum> {
    let mut line = Line { function, evaluations: 0 };
    let mut now = line.point(start);
    // Steps s, changes of the gradient y, and 1 / sᵀy, the oldest first.
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
    let mut iterations = 0;
    loop {
        let norm = dot(&now.gradient, &now.gradient).sqrt();
        let end =
            |converged, now: Point, evaluations| Minimum { at: now.at, iterations, evaluations, converged };
        if norm <= tolerance || iterations >= most || !norm.is_finite() {
            return Ok(end(norm <= tolerance, now, line.evaluations));
        }
        stop::check("the probe")?;
        let direction = direction(&now.gradient, &memory);
        // As long as nothing is known about the scale: a step of length one at most.
        let first = if memory.is_empty() { (1.0 / norm).min(1.0) } else { 1.0 };
        let Some(next) = line.search(&now, &direction, first) else {
            if memory.is_empty() {
                return Ok(end(false, now, line.evaluations));
            }
            // Perhaps it is the memory that is wrong: once more, straight down.
            memory.clear();
            continue;
        };
        let step = difference(&next.at, &now.at);
        let change = difference(&next.gradient, &now.gradient);
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((step, change, 1.0 / curvature));
        }
        now = next;
        iterations += 1;
    }
}

/// Minus the gradient times the inverse curvature that the memory describes: the two loops of algorithm 7.4.
fn direction(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change, rho) in memory.iter().rev() {
        let share = rho * dot(step, &direction);
        add(&mut direction, -share, change);
        shares.push(share);
    }
    if let Some((_, change, rho)) = memory.back() {
        let scale = 1.0 / (rho * dot(change, change));
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((step, change, rho), share) in memory.iter().zip(shares.iter().rev()) {
        let back = rho * dot(change, &direction);
        add(&mut direction, share - back, step);
    }
    direction
}

/// A point, with the function's value and gradient.
struct Point {
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A point on the line that is searched: how far along, and the derivative along it.
struct Trial {
    step: f64,
    slope: f64,
    point: Point,
}

/// The function, and how often it was computed.
struct Line<F> {
    function: F,
    evaluations: usize,
}

impl<F: FnMut(&[f64], &mut [f64]) -> f64> Line<F> {
    fn point(&mut self, at: Vec<f64>) -> Point {
        let mut gradient = vec![0.0; at.len()];
        let value = (self.function)(&at, &mut gradient);
        self.evaluations += 1;
        Point { at, value, gradient }
    }

    fn trial(&mut self, from: &Point, direction: &[f64], step: f64) -> Trial {
        let at = from.at.iter().zip(direction).map(|(a, d)| a + step * d).collect();
        let point = self.point(at);
        Trial { step, slope: dot(&point.gradient, direction), point }
    }

    /// A point along `direction` that meets both Wolfe conditions, tried first at `step` (algorithm 3.5). `None` if
    /// there is no descent.
    fn search(&mut self, from: &Point, direction: &[f64], mut step: f64) -> Option<Point> {
        let slope = dot(&from.gradient, direction);
        if slope >= 0.0 || slope.is_nan() {
            return None;
        }
        let last = self.evaluations + MOST_TRIALS;
        let start = Point { at: from.at.clone(), value: from.value, gradient: from.gradient.clone() };
        let mut low = Trial { step: 0.0, slope, point: start };
        // Doubles the step until a good one lies between it and the one before.
        let mut high = loop {
            let trial = self.trial(from, direction, step);
            if self.is_too_far(from, slope, &low, &trial) {
                break trial;
            }
            if trial.slope.abs() <= -CURVATURE * slope {
                return Some(trial.point);
            }
            if trial.slope >= 0.0 {
                break std::mem::replace(&mut low, trial);
            }
            low = trial;
            step *= 2.0;
            if self.evaluations >= last {
                return Some(low.point);
            }
        };
        // Narrows what lies between (algorithm 3.6). `low` always meets the first condition.
        while self.evaluations < last && (high.step - low.step).abs() > f64::EPSILON * low.step.abs() {
            let trial = self.trial(from, direction, between(&low, &high));
            if self.is_too_far(from, slope, &low, &trial) {
                high = trial;
                continue;
            }
            if trial.slope.abs() <= -CURVATURE * slope {
                return Some(trial.point);
            }
            if trial.slope * (high.step - low.step) >= 0.0 {
                high = std::mem::replace(&mut low, trial);
            } else {
                low = trial;
            }
        }
        (low.step > 0.0 && low.point.value < from.value).then_some(low.point)
    }

    fn is_too_far(&self, from: &Point, slope: f64, low: &Trial, trial: &Trial) -> bool {
        let (value, bound) = (trial.point.value, from.value + DECREASE * trial.step * slope);
        !value.is_finite() || value > bound || (low.step > 0.0 && value >= low.point.value)
    }
}

/// Where the cubic through both values and slopes has its minimum, kept away from the ends.
fn between(low: &Trial, high: &Trial) -> f64 {
    let width = high.step - low.step;
    let a = low.slope + high.slope - 3.0 * (high.point.value - low.point.value) / width;
    let root = (a * a - low.slope * high.slope).sqrt() * width.signum();
    let share = 1.0 - (high.slope + root - a) / (high.slope - low.slope + 2.0 * root);
    low.step + width * if share.is_nan() { 0.5 } else { share.clamp(0.1, 0.9) }
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, x)| *to += factor * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The valley of Rosenbrock, whose minimum is 0 at (1, 1, …).
    fn valley(at: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let mut value = 0.0;
        for i in 0..at.len() - 1 {
            let (a, b) = (1.0 - at[i], at[i + 1] - at[i] * at[i]);
            value += a * a + 100.0 * b * b;
            gradient[i] -= 2.0 * a + 400.0 * b * at[i];
            gradient[i + 1] += 200.0 * b;
        }
        value
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        for n in [2, 10, 100] {
            let found = minimise(valley, vec![-1.2; n], 1e-9, 1000).unwrap();
            assert!(found.converged, "{n}: {} steps", found.iterations);
            assert!(found.at.iter().all(|x| (x - 1.0).abs() < 1e-8));
        }
    }

    #[test]
    fn every_step_meets_the_wolfe_conditions() {
        let mut line = Line { function: valley, evaluations: 0 };
        let from = line.point(vec![-1.2, 1.0, 0.5, -2.0]);
        let direction: Vec<f64> = from.gradient.iter().map(|g| -g).collect();
        let slope = dot(&from.gradient, &direction);
        for first in [1e-9, 1e-6, 1e-3, 1.0, 1e3] {
            let to = line.search(&from, &direction, first).unwrap();
            let step = (to.at[0] - from.at[0]) / direction[0];
            assert!(to.value <= from.value + DECREASE * step * slope);
            assert!(dot(&to.gradient, &direction).abs() <= -CURVATURE * slope);
        }
    }

    #[test]
    fn functions_without_a_minimum_end() {
        let slope = |_: &[f64], gradient: &mut [f64]| {
            gradient.fill(f64::NAN);
            f64::NAN
        };
        assert!(!minimise(slope, vec![1.0], 1e-9, 100).unwrap().converged);
        let down = |at: &[f64], gradient: &mut [f64]| {
            gradient.fill(-1.0);
            -at[0]
        };
        assert!(!minimise(down, vec![1.0], 1e-9, 100).unwrap().converged);
        // A gradient that lies.
        let wrong = |at: &[f64], gradient: &mut [f64]| {
            gradient.fill(1.0);
            -at[0]
        };
        assert!(!minimise(wrong, vec![1.0], 1e-9, 100).unwrap().converged);
    }
}
