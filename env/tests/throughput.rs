//! What a call costs over the real transport. Prints; run it by hand in release: it is no test of correctness.

use bytes::Bytes;
use quorate_env::{Env, EnvConfig, Handler, NodeId, Refusal, Service, time};
use std::{sync::Arc, time::Duration};

struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, Refusal> {
        Ok(body)
    }
}

fn cpu() -> Duration {
    let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
    // SAFETY: `usage` is a valid place for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn calls_over_loopback() {
    let one = Env::real(EnvConfig::new(NodeId(1))).unwrap();
    let two = Env::real(EnvConfig::new(NodeId(2))).unwrap();
    two.transport().serve(Service::Kv, Arc::new(Echo));
    let address = two.listen("127.0.0.1:0").await.unwrap().to_string();
    one.transport().set_address(NodeId(2), address);
    for (callers, each) in [(1, 5_000u32), (16, 5_000), (256, 1_000)] {
        let (started, cpu_before) = (time::now(), cpu());
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let env = one.clone();
                one.spawn("bench.caller", async move {
                    for _ in 0..each {
                        let body = Bytes::from_static(&[1; 128]);
                        env.transport()
                            .call(NodeId(2), Service::Kv, body, Duration::from_secs(10))
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.join().await.unwrap();
        }
        let (took, used) = (time::now() - started, cpu() - cpu_before);
        let calls = callers * each;
        println!(
            "{callers:4} callers: {:8.0} calls/s, {:6.1} µs each, {:5.1} µs CPU a call",
            f64::from(calls) / took.as_secs_f64(),
            took.as_micros() as f64 * f64::from(callers) / f64::from(calls),
            used.as_micros() as f64 / f64::from(calls),
        );
    }
}
