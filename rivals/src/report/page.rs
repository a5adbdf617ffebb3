//! The page: the machine, the method, the goals, and a chapter with a chart for each group.

use std::fmt::Write as _;

use super::{amount, compared, verdicts};
use crate::machine;
use crate::row::{Group, Measured, Unit, Who};
use crate::statistics::Spread;

const METHOD: &str = "\
Every implementation does the same work in the same process: in each round all of them, one after
the other, in an order that rotates. A ratio is what Blacklight took divided by what the other took
in the same round; the tables give the median of these ratios with quartiles and extremes. Below 1
Blacklight is the faster one. The *floor* is the work in bare system calls, with nothing around them.
Programs that are spawned are static executables of a few instructions, which the benchmark writes;
a sample is the mean of ten spawns, one after the other (five where a spawn is compared with itself,
two where each takes the rivals a tenth of a second). What SIGCHLD does is set back to the default
after each turn, and to what the implementation itself had left before its next: so each runs as in a
process of its own, and no handler of one interrupts another.
";

/// What profiles and counts say, where the clock alone does not.
const WHERE_THE_TIME_GOES: &str = include_str!("../../where-the-time-goes.md");

pub(super) fn compose(rows: &[Measured], wanted: &[String]) -> String {
    let mut page = String::from(
        "# Performance\n\n<!-- Written by `cargo run --release -p blacklight-rivals -- --write`; \
         changes are lost. -->\n\n",
    );
    for line in machine::describe() {
        let _infallible = writeln!(page, "- {line}");
    }
    if !wanted.is_empty() {
        let words: Vec<String> = wanted.iter().map(|word| format!("“{word}”")).collect();
        let _infallible = writeln!(page, "- Only the rows named {}", words.join(" or "));
    }
    let _infallible = writeln!(page, "\n{METHOD}\nHow to run it: [rivals](../rivals/README.md).");
    goals(&mut page, rows);
    for group in Group::ALL {
        let rows: Vec<&Measured> = rows.iter().filter(|row| row.group == group).collect();
        if !rows.is_empty() {
            chapter(&mut page, group, &rows);
        }
    }
    page.push('\n');
    page.push_str(WHERE_THE_TIME_GOES);
    page
}

fn goals(page: &mut String, rows: &[Measured]) {
    page.push_str("\n## Goals\n\n| work | goal | median | |\n| --- | --- | ---: | --- |\n");
    for row in rows {
        for verdict in verdicts(row) {
            let goal = verdict.trim_start_matches("goal ");
            let (asked, rest) = goal.split_once(": ").unwrap_or((goal, ""));
            let (got, reached) = rest.split_once(", ").unwrap_or((rest, ""));
            let _infallible = writeln!(page, "| {} | {asked} | {got} | {reached} |", row.name);
        }
    }
}

fn chapter(page: &mut String, group: Group, rows: &[&Measured]) {
    let (title, file) = (group.title(), group.file());
    let _infallible = write!(
        page,
        "\n## {title}\n\n![{title}: medians with quartiles](performance/{file}.svg)\n\n\
         | work | who | median | ratio | quartiles | extremes | rounds |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for row in rows {
        for (place, (who, samples)) in row.samples.iter().enumerate() {
            let work = if place == 0 { row.name.as_str() } else { "" };
            let took = amount(row.unit, Spread::of(samples).median);
            let _infallible = write!(page, "| {work} | {} | {took} |", who.name());
            let _infallible = match compared(row, *who) {
                Some(ratio) => write!(
                    page,
                    " {:.3} | {:.3} – {:.3} | {:.3} – {:.3} |",
                    ratio.median, ratio.lower, ratio.upper, ratio.minimum, ratio.maximum
                ),
                None => write!(page, " | | |"),
            };
            let _infallible = writeln!(page, " {} |", samples.len());
        }
    }
    if rows.iter().any(|row| row.unit == Unit::Times) {
        let ours = Who::Blacklight.name();
        let _infallible = writeln!(
            page,
            "\nWhere the median is a factor, each is compared with itself: how many times dearer the\n\
             work became, for {ours} as for the others."
        );
    }
}
