//! Five numbers that say how samples lie.

/// Minimum, quartiles and maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) minimum: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
    pub(crate) maximum: f64,
}

impl Spread {
    /// Of at least one sample. A quartile is a sample, never between two.
    pub(crate) fn of(samples: &[f64]) -> Spread {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: usize| sorted[(sorted.len() - 1) * part / 4];
        Spread { minimum: at(0), lower: at(1), median: at(2), upper: at(3), maximum: at(4) }
    }
}
