//! Starting an operation of the placement driver and following it to its end.

use super::client;
use crate::cli::HostArgs;
use anyhow::{Result, bail};
use quorate_proto::placement::{Operation, OperationState, PlacementReply, PlacementRequest};

const POLL_MILLIS: u64 = 1000;

/// Runs to the end of the operation, telling at which step it is.
pub async fn run(host: &HostArgs, operation: Operation) -> Result<()> {
    let waiting = super::asking(host);
    let PlacementReply::Started(id) =
        client::placement(&host.host, PlacementRequest::Start(operation)).await?
    else {
        bail!("unexpected answer");
    };
    loop {
        let ask = PlacementRequest::Operation { id, wait_millis: POLL_MILLIS };
        let PlacementReply::Operations(status) = client::placement(&host.host, ask).await? else {
            bail!("unexpected answer");
        };
        let Some(status) = status.first() else { bail!("operation {id} is not known any more") };
        match &status.state {
            OperationState::Running => waiting.now(format!("operation {id}: {}", status.step)),
            OperationState::Done => {
                println!(
                    "{}",
                    if host.json {
                        format!("{{\"operation\":{id}}}")
                    } else {
                        format!("operation {id}: done")
                    }
                );
                return Ok(());
            }
            OperationState::Failed(why) => bail!("operation {id}: {why}"),
        }
    }
}
