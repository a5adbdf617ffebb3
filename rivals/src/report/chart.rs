//! A chart of a group: for each row, horizontal bars as long as the medians, with whiskers at the
//! quartiles. Each row has a scale of its own, because what is compared is within a row.
//!
//! The colours follow the reader's scheme, by a media query inside the picture.

use std::fmt::Write as _;

use super::amount;
use crate::row::{Group, Measured, Who};
use crate::statistics::Spread;

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
const BAR: f64 = 14.0;
const STEP: f64 = 20.0;
const HEAD: f64 = 26.0;
const GAP: f64 = 12.0;
/// Where the bars begin, after the names.
const START: f64 = 130.0;
/// The longest bar or whisker; the figures have room behind it.
const LONGEST: f64 = 500.0;

const STYLE: &str = "\
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }\n\
    .row { font-weight: 600; }\n\
    .value { fill: #59636e; }\n\
    .other { fill: #b6bec8; } .ours { fill: #2f6fde; } .floor { fill: #8a939e; }\n\
    .whisker { stroke: #1f2328; stroke-width: 1.5; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3; } .value { fill: #9aa4af; }\n\
      .other { fill: #4a535d; } .ours { fill: #5b9bff; } .floor { fill: #6e7882; }\n\
      .whisker { stroke: #e6edf3; }\n\
    }\n";

pub(super) fn draw(group: Group, rows: &[&Measured]) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    for row in rows {
        y += HEAD;
        text(&mut body, MARGIN, y - 9.0, "row", &row.name);
        let spreads = row.samples.iter().map(|(who, samples)| (*who, Spread::of(samples)));
        let spreads: Vec<(Who, Spread)> = spreads.collect();
        let most = spreads.iter().map(|(_, spread)| spread.upper).fold(f64::MIN_POSITIVE, f64::max);
        for (who, spread) in spreads {
            bar(&mut body, y, who, &spread, LONGEST / most);
            let end = START + LONGEST / most * spread.upper;
            text(&mut body, end + 8.0, y + 11.5, "value", &amount(row.unit, spread.median));
            y += STEP;
        }
        y += GAP;
    }
    let (title, height) = (group.title(), y + MARGIN - GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n{body}</svg>\n",
        escaped(title)
    )
}

fn bar(body: &mut String, y: f64, who: Who, spread: &Spread, scale: f64) {
    let class = match who {
        Who::Blacklight => "ours",
        Who::Floor | Who::PidfdFloor => "floor",
        _ => "other",
    };
    text(body, MARGIN, y + 11.5, class_of_name(who), who.name());
    let length = scale * spread.median;
    let _infallible = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{START}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
    );
    let (low, high) = (START + scale * spread.lower, START + scale * spread.upper);
    let (top, middle, bottom) = (y + 4.0, y + BAR / 2.0, y + BAR - 4.0);
    let _infallible = writeln!(
        body,
        "<path class=\"whisker\" fill=\"none\" d=\"M{low:.1} {top}V{bottom}M{low:.1} {middle}\
         H{high:.1}M{high:.1} {top}V{bottom}\"/>"
    );
}

fn class_of_name(who: Who) -> &'static str {
    if who == Who::Blacklight { "row" } else { "value" }
}

fn text(body: &mut String, x: f64, y: f64, class: &str, content: &str) {
    let content = escaped(content);
    let _infallible =
        writeln!(body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
