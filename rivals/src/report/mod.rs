//! What is printed and what is written: the table, the page and its charts.

mod chart;
mod page;

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::row::{Goal, Group, Measured, Unit, Who};
use crate::statistics::Spread;

/// A row as text: what each took, and how ours compares, with whether a goal was reached.
pub(crate) fn table(row: &Measured) -> String {
    let mut text = format!("\n{}\n", row.name);
    let _infallible = writeln!(
        text,
        "  {:<14}{:>12}  {:>7} {:>7} {:>7} {:>7} {:>7}",
        "", "median", "min", "q1", "ratio", "q3", "max"
    );
    for (who, samples) in &row.samples {
        let spread = Spread::of(samples);
        let _infallible =
            write!(text, "  {:<14}{:>12}", who.name(), amount(row.unit, spread.median));
        if let Some(ratio) = compared(row, *who) {
            let Spread { minimum, lower, median, upper, maximum } = ratio;
            let all = [minimum, lower, median, upper, maximum];
            for value in all {
                let _infallible = write!(text, " {value:>7.3}");
            }
        }
        text.push('\n');
    }
    for goal in verdicts(row) {
        let _infallible = writeln!(text, "  {goal}");
    }
    text
}

/// Ours against `who`; in a row of growth, `who` against itself.
fn compared(row: &Measured, who: Who) -> Option<Spread> {
    if row.unit == Unit::Times {
        return row.of(who).map(Spread::of);
    }
    if who == Who::Blacklight {
        return None;
    }
    row.ratios(who).map(|ratios| Spread::of(&ratios))
}

/// Each goal with what it came to.
fn verdicts(row: &Measured) -> Vec<String> {
    let verdict = |goal: &Goal| {
        let (asked, most, got) = match *goal {
            Goal::Against(who, most) => {
                let got = Spread::of(&row.ratios(who)?).median;
                (format!("≤ {most} of {}", who.name()), most, format!("{got:.3}"))
            }
            Goal::AtMost(most) => {
                let got = Spread::of(row.of(Who::Blacklight)?).median;
                (format!("≤ {}", amount(row.unit, most)), most, amount(row.unit, got))
            }
        };
        let value = match *goal {
            Goal::Against(who, _) => Spread::of(&row.ratios(who)?).median,
            Goal::AtMost(_) => Spread::of(row.of(Who::Blacklight)?).median,
        };
        let reached = if value <= most { "reached" } else { "not reached" };
        Some(format!("goal {asked}: {got}, {reached}"))
    };
    row.goals.iter().filter_map(verdict).collect()
}

/// A number with a unit that suits its size.
fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Times => format!("× {value:.3}"),
        Unit::Bytes => format!("{value:.0} B"),
        Unit::Nanoseconds => match value {
            ..1e3 => format!("{value:.1} ns"),
            ..1e6 => format!("{:.2} µs", value / 1e3),
            _ => format!("{:.2} ms", value / 1e6),
        },
    }
}

/// Writes the page and the charts beside it, into the repository that this was built in.
pub(crate) fn write(rows: &[Measured], wanted: &[String]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let charts = folder.join("performance");
    std::fs::create_dir_all(&charts)?;
    for group in Group::ALL {
        let rows: Vec<&Measured> = rows.iter().filter(|row| row.group == group).collect();
        let path = charts.join(group.file()).with_extension("svg");
        if rows.is_empty() {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else {
            std::fs::write(path, chart::draw(group, &rows))?;
        }
    }
    std::fs::write(folder.join("performance.md"), page::compose(rows, wanted))
}
