//! Student's t distribution, by the incomplete beta function (Abramowitz and Stegun 26.5.27 and 26.5.8).

/// The number that a t variable of so many degrees of freedom is below with probability `p`, for 0.5 < p < 1.
pub(super) fn quantile(p: f64, degrees: f64) -> f64 {
    if degrees.is_nan() || degrees <= 0.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while below(high, degrees) < p && high < 1e12 {
        high *= 2.0;
    }
    // Each step halves what is left: after a hundred of them nothing is.
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if below(middle, degrees) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The probability that a t variable is below `t` ≥ 0.
fn below(t: f64, degrees: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The regularised incomplete beta function I_x(a, b).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on one side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let log =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x);
    libm::exp(log) * fraction(x, a, b) / a
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut found = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            found *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1: scipy.stats.t.ppf(p, degrees).
    #[test]
    fn quantiles_are_scipys() {
        for (p, degrees, expected) in QUANTILES {
            let found = quantile(p, degrees);
            assert!((found / expected - 1.0).abs() < 1e-9, "{p} {degrees}: {found} {expected}");
        }
        assert_eq!(quantile(0.975, 0.0), f64::INFINITY);
    }

    const QUANTILES: [(f64, f64, f64); 10] = [
        (0.975, 1.0, 12.7062047361747),
        (0.975, 2.0, 4.3026527297495),
        (0.975, 2.37, 3.7189208397975),
        (0.975, 4.0, 2.7764451051978),
        (0.95, 9.0, 1.8331129326562),
        (0.975, 29.5, 2.0437249667721),
        (0.975, 1999.0, 1.9611514201706),
        (0.975, 1e6, 1.9599663568141),
        (0.6, 3.0, 0.2766706623327),
        (0.999, 5.0, 5.893429531356),
    ];
}
