//! The Prometheus text format (0.0.4): names and numbers on one page.
//!
//! The rooms keep their numbers in cells of [`crate::stats`]; a [`Source`] gives each number the
//! name that dashboards know. Label values come from fixed sets only: nothing that a remote party
//! sends may become a label.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::stats::{BUCKETS, SIZE_BOUNDS, SizeHistogram, Snapshot, TIME_BOUNDS_US, TimeHistogram};

/// Adds numbers to a page. Called for each scrape; must not wait.
pub type Source = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// The names of labels, and their values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// The unit of a time histogram. Its name must end in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `..._seconds`
    Seconds,
    /// `..._milliseconds`
    Milliseconds,
}

/// A page of metrics that is being written. Samples of one name stand together, whichever source
/// adds them.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<&'static str, Family>);

#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: &'static str,
    samples: String,
}

impl Exposition {
    /// Adds a counter, a number that only grows; `name` ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, labels: Labels, value: u64) {
        let out = self.family(name, "counter", help);
        sample(out, name, "", labels, None, &value);
    }

    /// Adds counters that differ in the value of one label.
    pub fn counters<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        for (value, count) in values {
            self.counter(name, help, &[(label, value)], count);
        }
    }

    /// Adds a counter of seconds; `name` ends in `_seconds_total`.
    pub fn seconds_counter(&mut self, name: &'static str, help: &'static str, seconds: f64) {
        let out = self.family(name, "counter", help);
        sample(out, name, "", &[], None, &seconds);
    }

    /// Adds a gauge, a number that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, labels: Labels, value: f64) {
        let out = self.family(name, "gauge", help);
        sample(out, name, "", labels, None, &value);
    }

    /// Adds a histogram of durations.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        unit: Unit,
        times: &TimeHistogram,
    ) {
        let per_unit = match unit {
            Unit::Seconds => 1e6,
            Unit::Milliseconds => 1e3,
        };
        let bounds = TIME_BOUNDS_US.map(|bound| bound as f64 / per_unit);
        let times = times.snapshot();
        self.buckets(name, help, labels, &bounds, (&times, times.sum as f64 / per_unit));
    }

    /// Adds a histogram of sizes; `name` ends in `_bytes`.
    pub fn sizes(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        sizes: &SizeHistogram,
    ) {
        let bounds = SIZE_BOUNDS.map(|bound| bound as f64);
        let sizes = sizes.snapshot();
        self.buckets(name, help, labels, &bounds, (&sizes, sizes.sum as f64));
    }

    fn buckets(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        bounds: &[f64; BUCKETS],
        (snapshot, sum): (&Snapshot, f64),
    ) {
        let out = self.family(name, "histogram", help);
        for (i, count) in snapshot.cumulative.iter().enumerate() {
            let bound = bounds.get(i).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            sample(out, name, "_bucket", labels, Some(&bound), count);
        }
        sample(out, name, "_sum", labels, None, &sum);
        sample(out, name, "_count", labels, None, &snapshot.count());
    }

    /// The finished page.
    pub fn finish(self) -> String {
        let mut page = String::new();
        for (name, family) in self.0 {
            let Family { kind, help, samples } = family;
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        page
    }

    fn family(
        &mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
    ) -> &mut String {
        let new = || Family { kind, help, samples: String::new() };
        &mut self.0.entry(name).or_insert_with(new).samples
    }
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: Labels,
    bound: Option<&str>,
    value: &dyn std::fmt::Display,
) {
    out.push_str(name);
    out.push_str(suffix);
    let bound = bound.map(|bound| ("le", bound));
    let mut separator = '{';
    for (label, value) in labels.iter().copied().chain(bound) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{separator}{label}=\"{value}\"");
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn samples_of_one_name_stand_together_under_one_heading() {
        let mut page = Exposition::default();
        page.counter("b_total", "Second.", &[("kind", "x")], 1);
        page.gauge("a", "First.", &[], 1.5);
        page.counter("b_total", "Second.", &[("kind", "q\"\\\n")], 2);
        assert_eq!(
            page.finish(),
            "# HELP a First.\n# TYPE a gauge\na 1.5\n\
             # HELP b_total Second.\n# TYPE b_total counter\n\
             b_total{kind=\"x\"} 1\nb_total{kind=\"q\\\"\\\\\\n\"} 2\n"
        );
    }

    #[test] // operations-72, operations-208
    fn a_histogram_is_cumulative_and_in_its_unit() {
        let times = TimeHistogram::default();
        times.observe(Duration::from_micros(2_500));
        times.observe(Duration::from_secs(1_000));
        let mut page = Exposition::default();
        page.histogram("t_seconds", "T.", &[("e", "1")], Unit::Seconds, &times);
        page.histogram("t_milliseconds", "T.", &[], Unit::Milliseconds, &times);
        let page = page.finish();
        for line in [
            "t_seconds_bucket{e=\"1\",le=\"0.001\"} 0\n",
            "t_seconds_bucket{e=\"1\",le=\"0.0025\"} 1\n",
            "t_seconds_bucket{e=\"1\",le=\"600\"} 1\n",
            "t_seconds_bucket{e=\"1\",le=\"+Inf\"} 2\n",
            "t_seconds_sum{e=\"1\"} 1000.0025\n",
            "t_seconds_count{e=\"1\"} 2\n",
            "t_milliseconds_bucket{le=\"2.5\"} 1\n",
            "t_milliseconds_sum 1000002.5\n",
        ] {
            assert!(page.contains(line), "no {line} in {page}");
        }
    }
}
