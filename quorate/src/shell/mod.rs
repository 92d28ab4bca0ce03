//! `quorate sql`: a shell with history, completion, `\d`-style commands, timing and the guarantee of each answer.

mod edit;
mod meta;
mod print;
pub use print::table;
mod split;

use crate::{cli::SqlArgs, progress};
use anyhow::{Context, Result};
use std::{
    io::{IsTerminal, Read},
    time::Duration,
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Opens a session. Notices of the server go to standard error.
pub async fn connect(url: &str) -> Result<Client> {
    let mut config: tokio_postgres::Config =
        url.parse().with_context(|| format!("`{url}` is not a database URL"))?;
    config.application_name("quorate sql");
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_PATIENCE);
    }
    let (client, mut connection) =
        config.connect(NoTls).await.with_context(|| format!("cannot connect to {url}"))?;
    let messages = async move {
        use tokio_postgres::AsyncMessage;
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => eprintln!("{}: {}", notice.severity(), notice.message()),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
    tokio::spawn(messages);
    Ok(client)
}

const LEAVE: &str = "\\q";

/// What the shell has been told about how to print.
pub struct Options {
    pub timing: bool,
    pub guarantee: bool,
}

pub async fn run(args: SqlArgs) -> Result<()> {
    if !std::io::stderr().is_terminal() {
        // Nobody watches.
        progress::mute();
    }
    let client = connect(&args.url).await?;
    let mut options = Options { timing: false, guarantee: false };
    if !args.commands.is_empty() {
        for text in &args.commands {
            script(&client, text, &mut options).await?;
        }
        return Ok(());
    }
    let stdin = std::io::stdin();
    match &args.file {
        Some(file) if file.as_os_str() != "-" => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            script(&client, &text, &mut options).await
        }
        None if stdin.is_terminal() => interactive(&client).await,
        _ => {
            let mut text = String::new();
            stdin.lock().read_to_string(&mut text)?;
            script(&client, &text, &mut options).await
        }
    }
}

/// Runs statement after statement; the first error ends it, and so does `\q`.
async fn script(client: &Client, text: &str, options: &mut Options) -> Result<()> {
    for piece in split::statements(text) {
        match piece {
            split::Piece::Meta(line) if line.trim() == LEAVE => break,
            split::Piece::Meta(line) => meta::run(client, line, options).await?,
            split::Piece::Sql(sql) => statement(client, sql, options).await?,
        }
    }
    Ok(())
}

async fn interactive(client: &Client) -> Result<()> {
    let mut options = Options { timing: true, guarantee: true };
    let mut editor = edit::editor()?;
    println!("\\? for help, \\q to leave");
    let mut pending = String::new();
    while let Some(line) = edit::read(&mut editor, pending.is_empty())? {
        if line.is_empty() && pending.is_empty() {
            continue;
        }
        if pending.is_empty() && matches!(line.trim(), LEAVE | "exit" | "quit") {
            break;
        }
        pending.push_str(&line);
        pending.push('\n');
        if line.trim_start().starts_with('\\') || split::complete(&pending) {
            if let Err(error) = script(client, &pending, &mut options).await {
                eprintln!("{error:#}");
                if client.is_closed() {
                    return Err(error);
                }
            }
            pending.clear();
        }
    }
    edit::save(&mut editor);
    Ok(())
}

async fn statement(client: &Client, sql: &str, options: &Options) -> Result<()> {
    let began = now();
    let waiting = progress::waiting("waiting for the statement's end");
    let answer = client.simple_query(sql).await;
    drop(waiting);
    let took = began.elapsed();
    let messages = answer.map_err(|error| anyhow::anyhow!(print::error(sql, &error)))?;
    print::messages(&messages);
    if options.timing {
        let guarantee = if options.guarantee { guarantee(client).await } else { None };
        let guarantee = guarantee.map(|g| format!("  {g}")).unwrap_or_default();
        println!("time {:.3} ms{guarantee}", took.as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// `None` inside a failed transaction, where nothing can be asked.
async fn guarantee(client: &Client) -> Option<String> {
    let messages = client.simple_query("SHOW guarantee").await.ok()?;
    messages.iter().find_map(|m| match m {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

#[expect(clippy::disallowed_methods, reason = "shown to a person, decides nothing")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
