//! Cursors in the extended protocol.

use crate::{
    hostile::{exchange, frame, startup},
    standin::Node,
};

/// The kinds of the answers that describe rows (`T`) or are some (`D`), each with its number of columns.
fn widths(mut answers: &[u8]) -> Vec<(char, u16)> {
    let mut out = Vec::new();
    while let [kind, a, b, c, d, body @ ..] = answers {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        if matches!(kind, b'T' | b'D') {
            out.push((char::from(*kind), u16::from_be_bytes([body[0], body[1]])));
        }
        answers = &body[length.min(body.len())..];
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_fetch_describes_the_cursor_of_now() {
    let node = Node::start().await;
    let text = |sql: &str| frame(b'Q', format!("{sql}\0").as_bytes());
    let fetch = [
        frame(b'B', b"\0f\0\0\0\0\0\0\0"),
        frame(b'D', b"P\0"),
        frame(b'E', b"\0\0\0\0\0"),
        frame(b'D', b"Sf\0"),
        frame(b'S', b""),
    ]
    .concat();
    let messages = [
        startup(),
        text("begin; declare cu cursor for select 1, 2"),
        frame(b'P', b"f\0fetch 1 from cu\0\0\0"),
        fetch.clone(),
        text("close cu; declare cu cursor for select 3"),
        fetch.clone(),
        text("close cu; declare cu cursor for select 4, 5, 'six'"),
        fetch,
        text("select 'the end'"),
    ];
    let answers = exchange(&node, &messages.concat(), "the end").await;
    // What each fetch describes of its portal, its row, and what the statement would give now.
    let fetched = [2, 1, 3].into_iter().flat_map(|n| [('T', n), ('D', n), ('T', n)]);
    let expected: Vec<(char, u16)> = fetched.chain([('T', 1), ('D', 1)]).collect();
    assert_eq!(widths(&answers), expected);
}
