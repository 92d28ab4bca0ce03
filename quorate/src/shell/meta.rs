//! Backslash commands, in the words of psql.

use super::{Options, print};
use anyhow::{Result, bail};
use tokio_postgres::Client;

const HELP: &str = "\
  \\d [TABLE]   tables, or the columns of one
  \\dt          tables
  \\l           databases
  \\shards T    shards of table T
  \\nodes       nodes of the cluster
  \\timing      time of each statement on or off
  \\guarantee   guarantee of each answer on or off
  \\q           leave
";

pub async fn run(client: &Client, line: &str, options: &mut Options) -> Result<()> {
    let mut words = line.split_whitespace();
    let command = words.next().unwrap_or_default();
    let argument = words.next().map(|w| w.trim_end_matches(';'));
    let sql = match (command, argument) {
        ("\\?" | "\\h", _) => {
            print!("{HELP}");
            return Ok(());
        }
        ("\\timing", _) => return toggle(&mut options.timing, "timing"),
        ("\\guarantee", _) => return toggle(&mut options.guarantee, "guarantee"),
        ("\\d", Some(table)) => format!(
            "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns \
             WHERE table_name = {} ORDER BY ordinal_position",
            literal(table)
        ),
        ("\\d" | "\\dt", _) => "SELECT table_schema, table_name FROM information_schema.tables \
             WHERE table_schema NOT IN ('pg_catalog', 'information_schema', 'quorate') ORDER BY 1, 2"
            .to_owned(),
        ("\\l", _) => "SELECT datname FROM pg_catalog.pg_database ORDER BY 1".to_owned(),
        ("\\nodes", _) => "SELECT * FROM quorate.nodes ORDER BY node_id".to_owned(),
        ("\\shards", Some(table)) => format!("SHOW SHARDS FROM TABLE {}", identifier(table)),
        _ => bail!("unknown command {command}; \\? lists them"),
    };
    match client.simple_query(&sql).await {
        Ok(messages) => print::messages(&messages),
        Err(error) => bail!(print::error(&sql, &error)),
    }
    Ok(())
}

fn toggle(option: &mut bool, name: &str) -> Result<()> {
    *option = !*option;
    println!("{name} is {}", if *option { "on" } else { "off" });
    Ok(())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
