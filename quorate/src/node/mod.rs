//! One node: its parts, in the order in which they start and stop.

mod drain;
mod driver_watch;
mod gateway;
mod gauges;
mod http;
mod identity;
mod membership;
mod parts;
mod pulse;
mod scratch;
mod space;
pub mod threads;
pub mod troubles;

use crate::{
    cli::{Role, StartArgs},
    logging,
};
use anyhow::{Context, Result, bail};
use identity::DataDir;
use membership::Membership;
use metrics_exporter_prometheus::PrometheusBuilder;
use parts::Storage;
use pulse::Pulse;
use quorate_env::{Env, EnvConfig, PlacementClient};
use quorate_placement::Host;
use quorate_proto::{NodeId, placement::NodeInfo};
use quorate_sql::server::{SqlConfig, SqlServer};
use quorate_storage::ScratchDir;
use quorate_txn::{Coordinator, Router, TxnConfig};
use scratch::OnDisk;
use space::Disk;
use std::{net::ToSocketAddrs, sync::Arc};
use threads::SqlThreads;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

pub async fn run(args: StartArgs) -> Result<()> {
    logging::start(&args.log, args.log_file.as_deref())?;
    refuse_exposure(&args)?;
    let node = NodeId(args.node_id);
    let data = DataDir::open(&args.data)?;
    if let Some(file) = &args.pid_file {
        std::fs::write(file, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let identity = data.identity(node)?;
    let metrics = PrometheusBuilder::new().install_recorder().context("cannot start metrics")?;
    let env = Env::real(EnvConfig {
        clock_bound: args.clock_bound,
        cluster_id: identity.cluster_id.clone(),
        ..EnvConfig::new(node)
    })?;
    if let Some(file) = args.fault_file.clone() {
        troubles::follow(&env, file)?;
    }
    let mut stop = Signals::new()?;
    let sql_threads = SqlThreads::start()?;

    let space = Arc::new(Disk::at(&args.data, args.disk_reserve)?);
    let storage = Storage::open(&env, &data).map_err(parts::explain).with_context(|| space.cannot_open())?;
    space::look(&env, &storage, &space);
    env.spawn("space", space::follow(env.clone(), storage.clone(), space)).detach();
    let scratch = Arc::new(OnDisk(ScratchDir::open(&data.join("scratch"))?));
    let membership = Membership::start(&env, data, identity, describe(&env, &args), &args.join)?;
    let client = Arc::new(PlacementClient::new(env.clone(), Vec::new()));
    let router = Router::new(env.clone(), client.clone());
    let shards = storage.serve_shards(&env, &router).await?;
    let pulse = Pulse::new(
        &env,
        client.clone(),
        router.clone(),
        shards.clone(),
        storage.consensus.clone(),
        membership.clone(),
    );

    #[expect(clippy::disallowed_methods, reason = "browsers connect here, no nodes")]
    let http =
        TcpListener::bind(&args.http).await.with_context(|| format!("cannot listen on {}", args.http))?;
    let pages = http::serve(http, pulse.clone(), env.shutdown().clone(), metrics);
    env.spawn("http", async move {
        if let Err(error) = pages.await {
            tracing::error!(%error, "HTTP ended");
        }
    })
    .detach();
    env.listen(&args.rpc).await.with_context(|| format!("cannot listen on {}", args.rpc))?;
    tracing::info!(%node, rpc = args.rpc, sql = args.sql, http = args.http, "node serves");

    let serve = async {
        membership.in_cluster().await?;
        client.learn(&membership.driver());
        let founding = membership.founding();
        let founds = founding.is_some();
        let (consensus, engine) = (storage.consensus.clone(), storage.engine.clone());
        let host = Host::start(env.clone(), consensus, engine, client.clone(), founding).await?;
        if founds {
            membership.note_placement_made()?;
        }
        warn_of_role(&args, &host);
        pulse.set_host(host);
        let heart = pulse.clone();
        env.spawn("pulse", async move { heart.beat().await }).detach();
        env.spawn("map.watch", driver_watch::map(env.clone(), client.clone(), router.clone())).detach();
        env.spawn("schema.watch", driver_watch::schema(env.clone(), client.clone(), pulse.clone())).detach();
        if args.roles.contains(&Role::Sql) {
            let coordinator = Coordinator::new(env.clone(), router.clone(), TxnConfig::default(), scratch);
            pulse.set_coordinator(coordinator.clone());
            let config =
                SqlConfig { listen: args.sql.clone(), insecure: args.insecure, ..SqlConfig::default() };
            let server = SqlServer::start(env.clone(), coordinator, client.clone(), pulse.clone(), config);
            let server = sql_threads.run(server).await?;
            membership.gateway().open(server.with_context(|| format!("cannot serve SQL on {}", args.sql))?);
        }
        pulse.set_serving();
        std::future::pending::<Result<()>>().await
    };
    let ended = tokio::select! {
        result = serve => result,
        () = stop.wait() => Ok(()),
        why = storage.broken() => Err(anyhow::anyhow!(why)),
    };
    if ended.is_ok() {
        tracing::info!("draining");
        tokio::select! {
            () = drain::run(&env, &storage, membership.gateway()) => {}
            () = stop.wait() => tracing::warn!("stopped at once"),
        }
    }
    if let Some(file) = &args.pid_file {
        // A supervisor may have removed it already.
        let _ = std::fs::remove_file(file);
    }
    env.close().await;
    ended
}

/// A member that did not take part would be missed by the others.
fn warn_of_role(args: &StartArgs, host: &Host) {
    if host.placement().is_some() && !args.roles.contains(&Role::Placement) {
        tracing::warn!(
            "this node is a member of the placement driver, and carries it although it was started without the role placement; \
             `quorate shard move 0` gives its place to another node"
        );
    }
}

fn describe(env: &Env, args: &StartArgs) -> NodeInfo {
    let bit = |role: Role| if args.roles.contains(&role) { 1u8 << role as u8 } else { 0 };
    NodeInfo {
        id: env.node(),
        incarnation: env.incarnation(),
        rpc_address: args.rpc.clone(),
        sql_address: args.sql.clone(),
        http_address: args.http.clone(),
        locality: args.locality.clone().map(|locality| locality.0).unwrap_or_default(),
        roles: bit(Role::Placement) | bit(Role::Shard) | bit(Role::Sql),
    }
}

/// Without TLS and passwords only loopback is served, unless the operator insists.
fn refuse_exposure(args: &StartArgs) -> Result<()> {
    for address in [&args.rpc, &args.sql, &args.http] {
        let mut resolved =
            address.to_socket_addrs().with_context(|| format!("`{address}` is not HOST:PORT"))?;
        if !args.insecure && resolved.any(|a| !a.ip().is_loopback()) {
            bail!(
                "{address} is not a loopback address; there is no TLS yet, so say --insecure to serve it openly"
            );
        }
    }
    Ok(())
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
