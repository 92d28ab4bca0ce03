//! Starting an operation of the placement driver and following it to its end.

use super::client;
use crate::cli::HostArgs;
use anyhow::{Error, Result, bail};
use quorate_proto::placement::{
    Operation, OperationState, OperationStatus, PlacementError, PlacementReply, PlacementRequest,
};
use std::time::Duration;

const POLL_MILLIS: u64 = 1000;
/// The driver goes on with an operation under its next leader, however long there is none.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Runs to the end of the operation, telling at which step it is.
pub async fn run(host: &HostArgs, operation: Operation) -> Result<()> {
    let id = follow(host, operation).await?;
    println!(
        "{}",
        if host.json { format!("{{\"operation\":{id}}}") } else { format!("operation {id}: done") }
    );
    Ok(())
}

/// The same for those who have more to say about it.
pub async fn follow(host: &HostArgs, operation: Operation) -> Result<u64> {
    let waiting = super::asking(host);
    let PlacementReply::Started(id) =
        client::placement(&host.host, PlacementRequest::Start(operation)).await?
    else {
        bail!("unexpected answer");
    };
    loop {
        let status = look(host, id).await?;
        match &status.state {
            OperationState::Running => waiting.now(format!("operation {id}: {}", status.step)),
            OperationState::Done => return Ok(id),
            OperationState::Failed(why) => bail!("operation {id}: {why}"),
        }
    }
}

async fn look(host: &HostArgs, id: u64) -> Result<OperationStatus> {
    let mut tries = 0;
    loop {
        let ask = PlacementRequest::Operation { id, wait_millis: POLL_MILLIS };
        match client::placement(&host.host, ask).await {
            Ok(PlacementReply::Operations(mut status)) if !status.is_empty() => return Ok(status.remove(0)),
            Ok(_) => bail!("operation {id} is not known any more"),
            Err(error) if tries == TRIES || is_refused(&error) => return Err(error),
            Err(_) => tries += 1,
        }
        crate::demo::pause(PAUSE).await;
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(PlacementError::Refused(_)))
}
