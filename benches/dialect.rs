//! What does a body cost in the protobuf dialect, beside the same type through `serde_json`?

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pomelo_protocol::protobuf::Protos;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
struct Move {
    entity: u32,
    speed: f32,
    name: String,
    path: Vec<Point>,
}

#[derive(Serialize, Deserialize)]
struct Point {
    x: u32,
    y: u32,
}

fn dialect(criterion: &mut Criterion) {
    let protos = Protos::parse(&json!({"onMove": {
        "required uInt32 entity": 1,
        "required float speed": 2,
        "required string name": 3,
        "repeated Point path": 4,
        "message Point": {"required uInt32 x": 1, "required uInt32 y": 2},
    }}));
    let message = protos.ok().and_then(|protos| protos.message("onMove"));
    let message = message.expect("the schema above has onMove");
    for points in [1, 20] {
        let path = (0..points)
            .map(|n| Point {
                x: n * 40,
                y: n * 60,
            })
            .collect();
        let value = Move {
            entity: 70_000,
            speed: 1.5,
            name: "rider".to_owned(),
            path,
        };
        let mut out = Vec::new();
        message
            .encode(&value, &mut out)
            .expect("the value fits the schema");
        let dialect = out.clone();
        let json = serde_json::to_vec(&value).expect("the value is plain data");
        let mut group = criterion.benchmark_group(format!("a move over {points} points"));
        group.bench_function("encode dialect", |bencher| {
            bencher.iter(|| {
                out.clear();
                message.encode(black_box(&value), &mut out)
            });
        });
        group.bench_function("encode json", |bencher| {
            bencher.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&value))
            });
        });
        group.bench_function("decode dialect", |bencher| {
            bencher.iter(|| message.decode::<Move>(black_box(&dialect)));
        });
        group.bench_function("decode json", |bencher| {
            bencher.iter(|| serde_json::from_slice::<Move>(black_box(&json)));
        });
        group.finish();
    }
}

criterion_group!(benches, dialect);
criterion_main!(benches);
