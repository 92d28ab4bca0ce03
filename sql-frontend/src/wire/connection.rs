//! One client's connection, from its first packet to its end.

use super::{
    backend::{self, Severity},
    frontend::{Frontend, ProtocolError, Startup},
    io::{Inbox, Lost, Outbox},
};
use crate::{
    error::{SqlError, SqlState},
    server::Shared,
    session::{
        Session,
        cancel::{Sessions, shutting_down},
    },
};
use quorate_proto::placement::{Leaving, NodeCommand};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

const DATABASES: [&str; 2] = ["quorate", "postgres"];
const USERS: [&str; 2] = ["root", "postgres"];
/// For passing a cancel request on.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Both directions of a connection.
pub struct Io {
    pub inbox: Inbox,
    pub outbox: Outbox,
}

impl Io {
    async fn fatal(&mut self, error: &SqlError) {
        backend::error(&mut self.outbox.buffer, Severity::Fatal, error);
        self.outbox.close().await;
    }
}

impl From<ProtocolError> for SqlError {
    fn from(error: ProtocolError) -> Self {
        SqlError::new(SqlState(error.sqlstate), error.message)
    }
}

/// Serves one client until it leaves.
pub async fn serve(
    shared: Arc<Shared>,
    reading: Box<dyn AsyncRead + Send + Unpin>,
    writing: Box<dyn AsyncWrite + Send + Unpin>,
    peer: SocketAddr,
) {
    quorate_env::count!("quorate_sql_connections_total");
    let mut io = Io { inbox: Inbox::new(reading, shared.config.max_message), outbox: Outbox::new(writing) };
    let limit = shared.config.startup_timeout;
    let started = shared.env.timeout(limit, greet(&shared, &mut io, peer)).await;
    let Ok(Some(session)) = started else { return };
    run(session, io).await;
}

/// Answers startup packets until one begins a session.
async fn greet(shared: &Arc<Shared>, io: &mut Io, peer: SocketAddr) -> Option<Session> {
    loop {
        match io.inbox.startup().await {
            Ok(Startup::Ssl | Startup::Gss) => {
                if !io.inbox.is_empty() {
                    let why = "received unencrypted data after SSL request";
                    io.fatal(&ProtocolError::violation(why).into()).await;
                    return None;
                }
                io.outbox.buffer.extend_from_slice(b"N");
                io.outbox.flush().await.ok()?;
            }
            Ok(Startup::Cancel { pid, secret }) => {
                cancel(shared, pid, secret).await;
                return None;
            }
            Ok(Startup::Start { minor, parameters }) => {
                return match admit(shared, io, peer, minor, parameters) {
                    Ok(session) => {
                        io.outbox.flush().await.ok()?;
                        Some(session)
                    }
                    Err(error) => {
                        io.fatal(&error).await;
                        None
                    }
                };
            }
            Err(Lost::Protocol(error)) => {
                io.fatal(&error.into()).await;
                return None;
            }
            Err(Lost::Closed) => return None,
        }
    }
}

/// Here, or on the node that the pid names.
async fn cancel(shared: &Shared, pid: u32, secret: u32) {
    if shared.sessions.cancel(pid, secret) {
        return;
    }
    let node = Sessions::node_of(pid);
    if node != shared.env.node() {
        let command = NodeCommand::CancelSession { pid, secret };
        if let Err(error) = quorate_env::call(&shared.env, node, &command, CANCEL_TIMEOUT).await {
            tracing::debug!(%node, %error, "a cancel request could not be passed on");
        }
    }
}

fn admit(
    shared: &Arc<Shared>,
    io: &mut Io,
    peer: SocketAddr,
    minor: u16,
    parameters: Vec<(String, String)>,
) -> Result<Session, SqlError> {
    let find = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let user = find("user").filter(|user| !user.is_empty()).ok_or_else(|| {
        SqlError::new(SqlState("28000"), "no PostgreSQL user name specified in startup packet")
    })?;
    let database = find("database").filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
    if !shared.config.insecure && !peer.ip().is_loopback() {
        return Err(SqlError::new(
            SqlState("28000"),
            format!("connections from {} are not allowed", peer.ip()),
        )
        .hint(
            "There are no passwords yet: connect from the same machine, or start the node with --insecure.",
        ));
    }
    if !USERS.contains(&user.as_str()) {
        return Err(SqlError::new(SqlState("28000"), format!("role \"{user}\" does not exist")));
    }
    if !DATABASES.contains(&database.as_str()) {
        return Err(SqlError::new(
            SqlState::INVALID_CATALOG_NAME,
            format!("database \"{database}\" does not exist"),
        ));
    }
    if find("replication").is_some_and(|value| !matches!(value.as_str(), "false" | "off" | "no" | "0")) {
        return Err(SqlError::unsupported("the replication protocol"));
    }
    if shared.env.shutdown().is_set() {
        return Err(shutting_down());
    }
    if *shared.cluster.leaving().borrow() != Leaving::No {
        let text = format!("node {} is draining and takes no new clients", shared.env.node());
        return Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, text).hint("Connect to another node."));
    }
    let admission = shared
        .sessions
        .admit(&shared.env, user.clone(), database, peer.to_string())
        .ok_or_else(|| SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already"))?;
    let entry = admission.entry.clone();
    let mut session = Session::new(shared.clone(), admission);
    for (name, value) in &parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => session.startup_options(value)?,
            name if name.starts_with("_pq_.") => {}
            name => session.startup_setting(name, value)?,
        }
    }
    let out = &mut io.outbox.buffer;
    let unknown: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor > 0 || !unknown.is_empty() {
        backend::negotiate_protocol(out, 0, &unknown);
    }
    backend::authentication_ok(out);
    for (name, value) in session.reported_settings() {
        backend::parameter_status(out, name, &value);
    }
    backend::backend_key_data(out, entry.pid, entry.secret);
    backend::ready_for_query(out, session.status());
    Ok(session)
}

/// The message loop.
async fn run(mut session: Session, mut io: Io) {
    // After an error in the extended protocol everything is skipped up to the next Sync.
    let mut skipping = false;
    loop {
        let message = match next(&session, &mut io).await {
            Ok(message) => message,
            Err(error) => {
                if let Some(error) = error {
                    io.fatal(&error).await;
                }
                break;
            }
        };
        let ends_skipping =
            matches!(message, Frontend::Sync | Frontend::Malformed(_, b'S') | Frontend::Terminate);
        if skipping && !ends_skipping {
            continue;
        }
        let result = match message {
            Frontend::Query(sql) => {
                session.simple_query(&sql, &mut io).await;
                Ok(())
            }
            Frontend::Sync => {
                skipping = false;
                session.sync(&mut io).await;
                Ok(())
            }
            Frontend::Flush => io.outbox.flush().await.map_err(|_| gone()),
            Frontend::Terminate => break,
            // Left over from a COPY that has failed.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            Frontend::FunctionCall => {
                let error = SqlError::unsupported("the function call protocol");
                backend::error(&mut io.outbox.buffer, Severity::Error, &error);
                session.sync(&mut io).await;
                Ok(())
            }
            Frontend::Password(_) => {
                io.fatal(&ProtocolError::violation("unexpected password message").into()).await;
                break;
            }
            // Whoever sends these waits for what follows an error.
            Frontend::Malformed(error, b'Q' | b'S') => {
                skipping = false;
                session.refuse(error.into(), &mut io).await;
                Ok(())
            }
            Frontend::Malformed(error, _) => Err(error.into()),
            message => session.extended(message, &mut io).await,
        };
        if let Err(error) = result {
            session.report(&error, &mut io.outbox);
            skipping = true;
            // Clients that ask by Flush wait for it before they send Sync.
            if io.outbox.flush().await.is_err() {
                break;
            }
        }
        if session.is_over() || io.outbox.relieve().await.is_err() {
            break;
        }
    }
    session.close().await;
    io.outbox.close().await;
}

pub fn gone() -> SqlError {
    SqlError::new(SqlState("08006"), "the client has gone")
}

/// The next message; `Err(None)` when the client is gone.
async fn next(session: &Session, io: &mut Io) -> Result<Frontend, Option<SqlError>> {
    let env = session.env().clone();
    let idle = session.idle_timeout();
    let timeout = async {
        match idle {
            Some((limit, error)) => {
                env.sleep(limit).await;
                error
            }
            None => std::future::pending().await,
        }
    };
    let message = tokio::select! {
        biased;
        error = session.lost_locks() => return Err(Some(error)),
        message = io.inbox.message() => message,
        error = timeout => return Err(Some(error)),
        () = session.sent_away() => return Err(Some(shutting_down())),
        () = session.ended() => return Err(Some(shutting_down())),
    };
    match message {
        Ok(message) => Ok(message),
        Err(Lost::Closed) => Err(None),
        Err(Lost::Protocol(error)) => Err(Some(error.into())),
    }
}
