//! Typed requests over a [`crate::Transport`].

use crate::{Env, Handler, NodeId, Refusal, Scope, TransportError, time};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use quorate_proto::rpc::{Rpc, decode, encode};
use std::{any::Any, future::Future, sync::Arc, task::Poll, time::Duration};

/// Sends a request and waits for its answer. To the own node it goes straight to the handler.
pub async fn call<R>(
    env: &Env,
    to: NodeId,
    request: &R,
    timeout: Duration,
) -> Result<R::Answer, TransportError>
where
    R: Rpc + Clone + Sync,
    R::Answer: 'static,
{
    if to == env.node()
        && let Some(handler) = env.transport().handler(R::SERVICE)
        && let Some(typed) = handler.typed().and_then(|any| any.downcast_ref::<Typed<R>>())
    {
        return in_process(env.scope(), (typed.0)(to, request.clone()), timeout).await;
    }
    let answer = env.transport().call(to, R::SERVICE, encode(request), timeout).await?;
    decode(&answer).map_err(|error| TransportError::Lost(format!("the answer cannot be read: {error}")))
}

/// Answers requests of type `R` with `handler(from, request)`. Each call is a task of its own and runs to its end.
pub fn serve<R, F, Fut>(env: &Env, handler: F)
where
    R: Rpc,
    F: Fn(NodeId, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R::Answer> + Send + 'static,
{
    let handler: TypedFn<R> = Arc::new(move |from, request| handler(from, request).boxed());
    env.transport().serve(R::SERVICE, Arc::new(Typed::<R>(handler)));
}

type TypedFn<R> = Arc<dyn Fn(NodeId, R) -> BoxFuture<'static, <R as Rpc>::Answer> + Send + Sync>;

struct Typed<R: Rpc>(TypedFn<R>);

#[async_trait]
impl<R: Rpc> Handler for Typed<R> {
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        let request =
            decode(&body).map_err(|error| Refusal(format!("the request cannot be read: {error}")))?;
        drop(body);
        Ok(encode(&(self.0)(from, request).await))
    }

    fn typed(&self) -> Option<&(dyn Any + Send + Sync)> {
        Some(self)
    }
}

/// Runs a handler of the own node. Most are done at their first poll; the others go on in a task of their own, so that
/// a caller who leaves does not cancel them halfway.
pub(crate) async fn in_process<T: Send + 'static>(
    scope: &Arc<Scope>,
    mut future: BoxFuture<'static, T>,
    timeout: Duration,
) -> Result<T, TransportError> {
    let first = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    if let Poll::Ready(value) = first {
        return Ok(value);
    }
    match time::timeout(timeout, scope.spawn("rpc.local", future)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(TransportError::Lost("the handler did not come to its end".into())),
        Err(_) => Err(TransportError::Lost(format!("no answer of the own node within {timeout:?}"))),
    }
}
