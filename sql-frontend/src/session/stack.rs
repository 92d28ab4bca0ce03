//! Room on the stack for statements whose trees are deep.
//!
//! Everything that walks a tree (binder, optimizer, planner, expressions) does so by recursion. Parsing bounds how deep a
//! tree may become; only a long text has a deep one, and such statements are planned and run on a larger stack.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Enough for the deepest statement that the parser lets through, in a build without optimization. Only what is used of
/// it is ever backed by memory.
const SIZE: usize = 256 << 20;

/// Texts up to this length cannot be so deep that a thread's own stack is too small.
const SHORT: usize = 160;

/// Whether the tree of a statement may be deep.
pub fn is_deep(sql: &str) -> bool {
    sql.len() > SHORT
}

/// Runs on a larger stack if `deep`.
pub fn on_large_stack<T>(deep: bool, body: impl FnOnce() -> T) -> T {
    if deep { stacker::grow(SIZE, body) } else { body() }
}

/// Polls a future on a larger stack.
pub struct Deep<F> {
    pub future: Pin<Box<F>>,
    pub deep: bool,
}

impl<F: Future> Deep<F> {
    pub fn new(deep: bool, future: F) -> Self {
        Deep { future: Box::pin(future), deep }
    }
}

impl<F: Future> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let deep = self.deep;
        on_large_stack(deep, || self.future.as_mut().poll(cx))
    }
}
