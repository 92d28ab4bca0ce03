//! The report as a page: what ended in each second, what was done to the cluster meanwhile, and what was found.

use crate::report::{Mark, Report, Second, Section};
use std::fmt::Write;

const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 240.0;
/// Of a row of marks above the picture.
const ROW: f64 = 16.0;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1140px;margin:2em auto;padding:0 1em;color:#222}\
    pre{background:#f5f5f5;padding:1em;overflow:auto}.good{color:#176b2c}.bad{color:#a31515}\
    svg text{font:11px system-ui,sans-serif}.committed{fill:#4c9f5e}.failed{fill:#e0a93b}.unknown{fill:#c0504d}\
    .mark{fill:#7a5fa8;fill-opacity:.18}.label{fill:#4a3578}.axis{stroke:#999}.run{stroke:#999;stroke-dasharray:3 3}";

/// HTML that needs nothing else.
pub fn page(report: &Report) -> String {
    let (class, verdict) = match report.anomalies() {
        0 => ("good", "no anomaly".to_owned()),
        found => ("bad", format!("{found} anomalies")),
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>quorate check isolation: {verdict}</title>\
         <style>{STYLE}</style><h1>Isolation: <span class=\"{class}\">{verdict}</span></h1>"
    );
    page.push_str(&picture(report));
    page.push_str(
        "<p>Transactions that ended in each second: <b style=\"color:#4c9f5e\">committed</b>, \
         <b style=\"color:#e0a93b\">failed</b>, <b style=\"color:#c0504d\">of unknown outcome</b>; above, what was done to the \
         cluster meanwhile.</p>",
    );
    for section in &report.sections {
        let _ = write!(page, "<pre>{}</pre>", escaped(&section.text()));
    }
    if !report.marks.is_empty() {
        page.push_str("<h2>What was done to the cluster</h2><pre>");
        for mark in &report.marks {
            let (from, to) = (mark.from_ms as f64 / 1000.0, mark.to_ms as f64 / 1000.0);
            let _ = writeln!(page, "{from:9.3} s to {to:9.3} s  {}", escaped(&mark.what));
        }
        page.push_str("</pre>");
    }
    let _ = write!(page, "<pre>{}</pre></html>", escaped(&report.summary()));
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where things lie in the picture.
struct Scale {
    /// Width of a millisecond.
    milli: f64,
    /// Height of a transaction.
    one: f64,
    /// Where the bars stand.
    base: f64,
}

fn picture(report: &Report) -> String {
    let end = |section: &Section| section.began_ms + 1000 * section.pace.len() as u64;
    let ends = report.sections.iter().map(end).chain(report.marks.iter().map(|mark| mark.to_ms));
    let total = ends.max().unwrap_or(0).max(1000);
    let all = |second: &Second| second.committed + second.failed + second.unknown;
    let most = report.sections.iter().flat_map(|section| &section.pace).map(all).max().unwrap_or(0).max(1);
    let rows = rows(&report.marks);
    let above = ROW * (1 + rows.iter().max().map_or(0, |row| row + 1)) as f64;
    let scale = Scale { milli: WIDTH / total as f64, one: HEIGHT / most as f64, base: above + HEIGHT };
    let (width, height) = (WIDTH + 60.0, scale.base + 24.0);
    let mut svg = format!(
        "<svg viewBox=\"-50 0 {width:.0} {height:.0}\" width=\"100%\" role=\"img\" \
         aria-label=\"transactions in each second\">"
    );
    for (mark, row) in report.marks.iter().zip(rows) {
        marked(&mut svg, mark, row, &scale);
    }
    for section in &report.sections {
        bars(&mut svg, section, above, &scale);
    }
    axes(&mut svg, total, most, above, &scale);
    svg.push_str("</svg>");
    svg
}

/// A row for each mark, so that those that last at the same time, or whose names would overlap, stand below one another.
fn rows(marks: &[Mark]) -> Vec<usize> {
    let mut free: Vec<u64> = Vec::new();
    let total = marks.iter().map(|mark| mark.to_ms).max().unwrap_or(0);
    marks
        .iter()
        .map(|mark| {
            let name = (mark.what.len() as u64 * 7 * total) / WIDTH as u64;
            let until = mark.to_ms.max(mark.from_ms + name);
            let row = free.iter().position(|free| *free <= mark.from_ms).unwrap_or(free.len());
            if row == free.len() {
                free.push(until);
            } else {
                free[row] = until;
            }
            row
        })
        .collect()
}

fn marked(svg: &mut String, mark: &Mark, row: usize, scale: &Scale) {
    let x = mark.from_ms as f64 * scale.milli;
    let width = ((mark.to_ms - mark.from_ms) as f64 * scale.milli).max(1.5);
    let (y, what) = (ROW * (row + 1) as f64, escaped(&mark.what));
    let _ = write!(
        svg,
        "<rect class=\"mark\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{what}</title></rect>\
         <text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\">{what}</text>",
        y - ROW + 4.0,
        scale.base - y + ROW - 4.0,
    );
}

fn bars(svg: &mut String, section: &Section, above: f64, scale: &Scale) {
    let start = section.began_ms as f64 * scale.milli;
    let name = format!("{} at {}", section.workload.name(), section.level.name());
    let _ = write!(
        svg,
        "<line class=\"run\" x1=\"{start:.1}\" x2=\"{start:.1}\" y1=\"{above:.1}\" y2=\"{:.1}\"/>\
         <g><title>{name}</title>",
        scale.base
    );
    for (at, second) in section.pace.iter().enumerate() {
        let x = start + 1000.0 * at as f64 * scale.milli;
        let mut y = scale.base;
        for (class, count) in
            [("committed", second.committed), ("failed", second.failed), ("unknown", second.unknown)]
        {
            let height = count as f64 * scale.one;
            y -= height;
            if count > 0 {
                let width = 900.0 * scale.milli;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\"/>"
                );
            }
        }
    }
    svg.push_str("</g>");
}

fn axes(svg: &mut String, total: u64, most: u64, above: f64, scale: &Scale) {
    let base = scale.base;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{base:.1}\" y2=\"{base:.1}\"/>\
         <line class=\"axis\" x1=\"0\" x2=\"0\" y1=\"{above:.1}\" y2=\"{base:.1}\"/>\
         <text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{most}/s</text>",
        above + 10.0
    );
    let step = [1, 2, 5, 10, 30, 60, 120, 300, 600].into_iter().find(|step| total / 1000 / step <= 12);
    let step = step.unwrap_or(3600);
    for second in (0..=total / 1000).step_by(step as usize) {
        let x = 1000.0 * second as f64 * scale.milli;
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            base + 16.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::section;

    fn mark(what: &str, from_ms: u64, to_ms: u64) -> Mark {
        Mark { what: what.into(), from_ms, to_ms }
    }

    #[test]
    fn all_that_was_done_and_found_is_on_the_page() {
        let mut report = Report::new(1, true);
        report.sections.push(section(1));
        report.marks = vec![mark("kill n1 <&>", 3200, 4000), mark("pause n2", 3300, 3900)];
        let page = page(&report);
        assert!(page.contains("<h1>Isolation: <span class=\"bad\">1 anomalies</span></h1>"), "{page}");
        assert!(page.contains("kill n1 &lt;&amp;&gt;") && !page.contains("<&>"));
        for class in ["committed", "failed", "unknown"] {
            assert_eq!(page.matches(&format!("<rect class=\"{class}\"")).count(), 1, "{class}");
        }
        assert_eq!(page.matches("class=\"mark\"").count(), 2);
        assert!(page.contains("ANOMALY a sum that no snapshot has"));
    }

    #[test]
    fn marks_of_one_time_stand_below_one_another() {
        let marks = [
            mark("a", 0, 50_000),
            mark("b", 10_000, 20_000),
            mark("c", 30_000, 40_000),
            mark("d", 60_000, 61_000),
        ];
        assert_eq!(rows(&marks), [0, 1, 1, 0]);
    }
}
