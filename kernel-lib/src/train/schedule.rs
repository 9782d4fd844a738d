//! The learning rate at each step: a linear warm-up, then a cosine to zero (section 3.4).

use crate::{Error, Result};

/// A learning rate that rises linearly to its peak and falls to zero by half a cosine.
///
/// ```
/// let schedule = igpt::train::Schedule::new(0.003, 10, 100)?;
/// assert!((schedule.at(0) - 0.0003).abs() < 1e-12);
/// assert_eq!(schedule.at(9), 0.003);
/// assert_eq!(schedule.at(100), 0.0);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    peak: f64,
    warm_up: u64,
    steps: u64,
    cosine: bool,
}

impl Schedule {
    /// A run of `steps` whose first `warm_up` steps go up to `peak`. The paper does not state the warm-up's shape; a
    /// straight line is our choice.
    ///
    /// # Errors
    /// If the peak is no positive number, or the warm-up leaves no step to the cosine.
    pub fn new(peak: f64, warm_up: u64, steps: u64) -> Result<Self> {
        if !(peak.is_finite() && peak > 0.0) {
            return Err(Error::invalid(format!("a learning rate is a positive number, not {peak}")));
        }
        if warm_up >= steps {
            return Err(Error::invalid(format!(
                "a warm-up of {warm_up} steps fills a run of {steps}: train for longer, or warm up for fewer steps"
            )));
        }
        Ok(Self { peak, warm_up, steps, cosine: true })
    }

    /// The same without the cosine: after the warm-up the rate stays at its peak (section 3.4, fine-tuning).
    #[must_use]
    pub fn constant(self) -> Self {
        Self { cosine: false, ..self }
    }

    /// The learning rate of a step; the first is step 0. At step `warm_up - 1` it is the peak, and at the end, after
    /// the last step, it would be zero.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        if !self.cosine {
            return self.peak;
        }
        let done = (step - self.warm_up) as f64 / (self.steps - self.warm_up) as f64;
        // libm's cosine, which is the same on every machine.
        0.5 * self.peak * (1.0 + libm::cos(std::f64::consts::PI * done.min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_falls_and_ends_at_zero() {
        let schedule = Schedule::new(0.01, 20, 100).unwrap();
        for step in 0..99 {
            let (now, next) = (schedule.at(step), schedule.at(step + 1));
            assert!(if step < 19 { next > now } else { next <= now }, "{step}: {now} {next}");
        }
        assert_eq!(schedule.at(19), 0.01);
        assert_eq!(schedule.at(20), 0.01);
        assert!((schedule.at(60) - 0.005).abs() < 1e-15);
        assert!(schedule.at(99) > 0.0 && schedule.at(99) < 1e-5);
        assert_eq!((schedule.at(100), schedule.at(u64::MAX)), (0.0, 0.0));
        assert_eq!(Schedule::new(0.01, 0, 1).unwrap().at(0), 0.01);
        let constant = schedule.constant();
        assert_eq!((constant.at(3), constant.at(20), constant.at(99)), (schedule.at(3), 0.01, 0.01));
    }

    #[test]
    fn impossible_schedules_are_refused() {
        let error = Schedule::new(0.01, 100, 100).unwrap_err().to_string();
        assert!(error.contains("a warm-up of 100 steps fills a run of 100"), "{error}");
        assert!(Schedule::new(f64::NAN, 0, 1).is_err());
        assert!(Schedule::new(-0.1, 0, 1).is_err());
    }
}
