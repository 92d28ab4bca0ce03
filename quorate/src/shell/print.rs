//! Results as a table, errors with everything the server said.

use tokio_postgres::{
    SimpleQueryMessage,
    error::{DbError, ErrorPosition},
};

/// All results of a query string, each table followed by its row count.
pub fn messages(messages: &[SimpleQueryMessage]) {
    let mut header: Vec<String> = Vec::new();
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                header = columns.iter().map(|c| c.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => {
                if header.is_empty() && rows.is_empty() {
                    println!("OK {count}");
                } else {
                    print!("{}", table(&header, &rows));
                }
                header.clear();
                rows.clear();
            }
            _ => {}
        }
    }
}

/// The table as psql draws it.
pub fn table(header: &[String], rows: &[Vec<Option<String>>]) -> String {
    let cell = |value: &Option<String>| value.clone().unwrap_or_default();
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let cells = rows.iter().filter_map(|r| r.get(i)).map(|v| width(&cell(v)));
            cells.chain([width(name)]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(c, w)| format!(" {c}{} ", " ".repeat(w - width(c)))).collect();
        padded.join("|").trim_end().to_owned() + "\n"
    };
    let mut out = line(header.to_vec());
    out += &(widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+") + "\n");
    for row in rows {
        out += &line(row.iter().map(cell).collect());
    }
    out + &format!("({} row{})\n", rows.len(), if rows.len() == 1 { "" } else { "s" })
}

/// Severity, SQLSTATE, message, the place in the statement, detail and hint.
pub fn error(sql: &str, error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => database_error(sql, db),
        None => error.to_string(),
    }
}

fn database_error(sql: &str, db: &DbError) -> String {
    let mut out = format!("{} {}: {}", db.severity(), db.code().code(), db.message());
    if let Some(ErrorPosition::Original(position)) = db.position() {
        out += &place(sql, *position as usize);
    }
    if let Some(detail) = db.detail() {
        out += &format!("\nDETAIL: {detail}");
    }
    if let Some(hint) = db.hint() {
        out += &format!("\nHINT: {hint}");
    }
    out
}

/// The line that holds the `position`-th character (from 1), with a caret below it.
fn place(sql: &str, position: usize) -> String {
    let before: String = sql.chars().take(position.saturating_sub(1)).collect();
    let number = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or("").chars().count();
    let Some(line) = sql.lines().nth(number) else { return String::new() };
    let label = format!("LINE {}: ", number + 1);
    format!("\n{label}{line}\n{}^", " ".repeat(label.len() + column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let rows = vec![vec![Some("1".into()), None], vec![Some("22".into()), Some("ä".into())]];
        let text = table(&["id".into(), "name".into()], &rows);
        assert_eq!(text, " id | name\n----+------\n 1  |\n 22 | ä\n(2 rows)\n");
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        assert_eq!(place("select\n  x", 10), "\nLINE 2:   x\n          ^");
    }
}
