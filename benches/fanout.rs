//! What does one push to many cost, encoded once, beside encoding it for each receiver?

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pomelo_protocol::{Codec, Dictionary, Frame};
use serde_json::json;

fn fanout(criterion: &mut Criterion) {
    let mut codec = Codec::default();
    codec.dictionary = Dictionary::build([], ["onChat"]).ok();
    let body = json!({"from": "alice", "target": "*", "msg": "a line of chat of usual length"});
    let mut scratch = Vec::new();
    let mut push = || {
        codec
            .push(&mut scratch, "onChat", &body)
            .expect("far below 16 MiB")
    };
    let mut group = criterion.benchmark_group("one push");
    for receivers in [1, 100, 10_000_usize] {
        let mut queue: Vec<Frame> = Vec::with_capacity(receivers);
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::new("encoded once", receivers), |bencher| {
            bencher.iter(|| {
                queue.clear();
                let frame = push();
                queue.extend(std::iter::repeat_n(frame, receivers));
            });
        });
        group.bench_function(BenchmarkId::new("encoded for each", receivers), |bencher| {
            bencher.iter(|| {
                queue.clear();
                queue.extend((0..receivers).map(|_| push()));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
