//! The node's HTTP: console, `/metrics`, `/health` (200 when the node can serve) and `/ready` (200 when it has leaders to
//! reach). A node that drains takes no clients, and neither of the two says otherwise. One whose disk is full serves: a second
//! line says so.

use super::gauges;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use quorate_env::Shutdown;
use quorate_proto::placement::ReplicaReport;
use std::sync::Arc;

/// What the pages ask of the node.
pub trait Health: Send + Sync + 'static {
    /// `Err` says why the node cannot serve.
    fn healthy(&self) -> Result<(), String>;
    /// `Err` says which leaders are missing.
    fn ready(&self) -> Result<(), String>;
    /// What a node that can serve cannot do at present.
    fn lacks(&self) -> Option<String>;
    /// What the node's replicas say of themselves.
    fn replicas(&self) -> Vec<ReplicaReport>;
    /// Lines `name: value` about the node.
    fn facts(&self) -> Vec<(String, String)>;
}

#[derive(Clone)]
struct Pages {
    health: Arc<dyn Health>,
    shutdown: Shutdown,
    metrics: PrometheusHandle,
}

impl Pages {
    fn unless_draining(
        &self,
        verdict: impl FnOnce(&Arc<dyn Health>) -> Result<(), String>,
    ) -> (StatusCode, String) {
        let verdict = match self.shutdown.is_set() {
            true => Err("the node is draining".into()),
            false => verdict(&self.health),
        };
        match verdict {
            Ok(()) => {
                let lacks = self.health.lacks().map_or(String::new(), |lacks| lacks + "\n");
                (StatusCode::OK, format!("ok\n{lacks}"))
            }
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
        }
    }
}

pub async fn serve(
    listener: tokio::net::TcpListener,
    health: Arc<dyn Health>,
    shutdown: Shutdown,
    metrics: PrometheusHandle,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(console))
        .route("/metrics", get(exposition))
        .route(
            "/health",
            get(|State(pages): State<Pages>| async move { pages.unless_draining(|health| health.healthy()) }),
        )
        .route(
            "/ready",
            get(|State(pages): State<Pages>| async move { pages.unless_draining(|health| health.ready()) }),
        )
        .with_state(Pages { health, shutdown, metrics });
    axum::serve(listener, app).await
}

async fn exposition(State(pages): State<Pages>) -> impl IntoResponse {
    gauges::set(&pages.health.replicas());
    pages.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], pages.metrics.render())
}

async fn console(State(pages): State<Pages>) -> Html<String> {
    let rows: String = pages
        .health
        .facts()
        .iter()
        .map(|(name, value)| format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value)))
        .collect();
    Html(format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>Quorate</title>\
         <style>body{{font:15px system-ui;margin:2em}}th{{text-align:left;padding:.2em 1.5em .2em 0;font-weight:500}}</style>\
         <h1>Quorate</h1><table>{rows}</table><p><a href=/metrics>metrics</a> <a href=/health>health</a> <a href=/ready>ready</a>"
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_is_escaped() {
        assert_eq!(super::escape("<a&b>"), "&lt;a&amp;b&gt;");
    }
}
